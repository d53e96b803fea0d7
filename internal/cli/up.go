package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/instance"
)

// startPatience is how long a server may take to answer after its start:
// migrating a large store takes its time.
const startPatience = 2 * time.Minute

func (a *App) upCommand() *cobra.Command {
	var listen, name string
	command := &cobra.Command{
		Use:   "up",
		Short: "Start the local control plane in the background",
		Long: "Starts the embedded control plane on its data directory and remembers how to reach it as a context.\n" +
			"Machines that it started before go on running and are found again.",
		Example: "  hallmark up\n  hallmark up --data /srv/second --listen 127.0.0.1:8444 --name second",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.up(c.Context(), listen, name)
		},
	}
	command.Flags().StringVar(&listen, "listen", "127.0.0.1:8443", "the address to listen on; port 0 picks a free one")
	command.Flags().StringVar(&name, "name", "", "the name of the context; that of the data directory's last start, else local, else the directory's name")
	return command
}

func (a *App) up(ctx context.Context, listen, name string) error {
	dir, server, running, err := a.findServer()
	if err != nil {
		return err
	}
	if running {
		a.progress("The control plane already runs at %s (process %d).", server.URL, server.PID)
		return a.remember(dir, server, name)
	}
	if os.Geteuid() != 0 {
		return &Error{Code: ExitFailed, Err: errors.New("the local control plane mounts disks and makes network bridges, which only root may"), Hint: "sudo hallmark up"}
	}
	if err := a.spawn(dir, listen); err != nil {
		return err
	}
	if server, err = a.awaitServer(ctx, dir); err != nil {
		return err
	}
	a.progress("The control plane runs at %s (process %d), data in %s.", server.URL, server.PID, dir)
	return a.remember(dir, server, name)
}

// Dir is the data directory that --data names.
func (a *App) Dir() (instance.Dir, error) {
	absolute, err := filepath.Abs(a.dataDir)
	return instance.Dir(absolute), err
}

// findServer looks for the server of the data directory.
func (a *App) findServer() (dir instance.Dir, server instance.Server, running bool, err error) {
	if dir, err = a.Dir(); err != nil {
		return dir, server, false, err
	}
	server, running, err = dir.Running()
	return dir, server, running, err
}

// spawn starts `hallmark serve` in a session of its own, so that closing the
// terminal does not end it.
func (a *App) spawn(dir instance.Dir, listen string) error {
	if err := dir.Make(); err != nil {
		return err
	}
	log, err := os.OpenFile(dir.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the server's log: %w", err)
	}
	defer log.Close()
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the hallmark binary: %w", err)
	}
	server := exec.Command(self, "serve", "--data", string(dir), "--listen", listen)
	server.Stdout, server.Stderr, server.Dir = log, log, "/"
	server.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := server.Start(); err != nil {
		return fmt.Errorf("start the control plane: %w", err)
	}
	a.child = make(chan error, 1)
	go func() { a.child <- server.Wait() }()
	return nil
}

// awaitServer waits until the server has announced itself and answers.
func (a *App) awaitServer(ctx context.Context, dir instance.Dir) (instance.Server, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		select {
		case err := <-a.child:
			return instance.Server{}, &Error{Code: ExitFailed, Err: fmt.Errorf("the control plane ended at once (%v):\n%s", err, tail(dir.Log(), 8)), Hint: "see " + dir.Log() + ", and: hallmark doctor"}
		case <-ctx.Done():
			return instance.Server{}, &Error{Code: ExitUnreachable, Err: fmt.Errorf("the control plane does not answer after %s", startPatience), Hint: "see " + dir.Log()}
		case <-time.After(100 * time.Millisecond):
		}
		if server, running, err := dir.Running(); err == nil && running && healthy(ctx, server.URL) {
			return server, nil
		}
	}
}

// healthy asks /healthz. The certificate is not checked: this only asks
// whether something answers, sends no token and believes nothing it reads.
func healthy(ctx context.Context, url string) bool {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/healthz", nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func tail(file string, lines int) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	all := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// remember makes the server the context of that name; without one, a second
// instance does not take the first one's.
func (a *App) remember(dir instance.Dir, server instance.Server, name string) error {
	file, err := loadContexts()
	if err != nil {
		return err
	}
	if name == "" {
		name = file.nameOf(dir)
	}
	group := "hallmark"
	if old, ok := file.find(name); ok && old.Group != "" {
		group = old.Group
	}
	file.put(Context{
		Name: name, Endpoint: server.URL, Tenant: server.TenantID, ClientID: server.ClientID,
		SecretFile: dir.AdminSecret(), CAFile: dir.CACertificate(),
		Subscription: server.Subscription, Group: group, Location: server.Location,
	})
	return file.save()
}

func (a *App) downCommand() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "Stop the local control plane; machines go on running", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.down(c.Context()) },
	}
}

func (a *App) down(ctx context.Context) error {
	dir, server, running, err := a.findServer()
	if err != nil {
		return err
	}
	if !running {
		return &Error{Code: ExitNothing, Err: fmt.Errorf("no control plane runs on %s", dir)}
	}
	if err := syscall.Kill(server.PID, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop process %d: %w", server.PID, err)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
		if _, running, err := dir.Running(); err != nil || !running {
			a.progress("The control plane has stopped. Its machines go on running; hallmark up finds them again.")
			return err
		}
	}
}

func (a *App) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say whether the local control plane runs, and where", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.status(c.Context()) },
	}
}

func (a *App) status(ctx context.Context) error {
	dir, server, running, err := a.findServer()
	if err != nil {
		return err
	}
	state := "stopped"
	switch {
	case running && healthy(ctx, server.URL):
		state = "running"
	case running:
		state = "not answering"
	}
	status := map[string]any{"state": state, "data": string(dir), "log": dir.Log()}
	if running {
		status["url"], status["pid"], status["version"] = server.URL, server.PID, server.Version
	}
	if err := a.print(status, column{"State", "state"}, column{"URL", "url"}, column{"PID", "pid"}, column{"Version", "version"}, column{"Data", "data"}); err != nil {
		return err
	}
	if state != "running" {
		return &Error{Code: ExitUnreachable, Err: fmt.Errorf("the control plane on %s is %s", dir, state), Hint: "hallmark up"}
	}
	return nil
}
