package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// sshPatience is how long a machine may take to answer over SSH: an emulated
// one on a busy host boots in minutes.
const sshPatience = 10 * time.Minute

func (a *App) vmRun() *cobra.Command {
	var script string
	c := a.onVM("run NAME --script TEXT", "Run a shell script inside a machine through its guest agent", func(ctx context.Context, s *session, id string) error {
		var answer struct {
			Value []struct{ Message string }
		}
		body := map[string]any{"commandId": "RunShellScript", "script": strings.Split(script, "\n")}
		if err := s.post(ctx, id, "runCommand", apiCompute, body, &answer); err != nil {
			return err
		}
		for _, v := range answer.Value {
			fmt.Fprintln(a.Out, v.Message)
		}
		return nil
	})
	c.Flags().StringVar(&script, "script", "", "what to run")
	_ = c.MarkFlagRequired("script")
	return c
}

func (a *App) vmSSH() *cobra.Command {
	var where scope
	var user string
	c := &cobra.Command{
		Use: "ssh NAME [-- COMMAND…]", Short: "Open a machine over SSH, or run a command in it", Args: cobra.MinimumNArgs(1),
		Example: "  hallmark vm ssh web-1\n  hallmark vm ssh web-1 -- cat /etc/hallmark/tattoo",
	}
	where.register(c)
	c.Flags().StringVar(&user, "user", "", "whom to log in as (default: the machine's administrator)")
	c.RunE = func(c *cobra.Command, arguments []string) error {
		s, err := a.open(where)
		if err != nil {
			return err
		}
		return s.ssh(c.Context(), s.resource(typeVM, arguments[0]), user, arguments[1:])
	}
	return c
}

func (s *session) ssh(ctx context.Context, id, user string, command []string) error {
	arguments, err := s.sshArguments(ctx, id, user)
	if err != nil {
		return err
	}
	ssh := exec.CommandContext(ctx, "ssh", append(arguments, command...)...)
	ssh.Stdin, ssh.Stdout, ssh.Stderr = s.app.In, s.app.Out, s.app.Err
	err = ssh.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &Error{Code: exit.ExitCode(), Err: fmt.Errorf("ssh ended with %d", exit.ExitCode())}
	}
	return err
}

func (s *session) sshArguments(ctx context.Context, id, user string) ([]string, error) {
	var vm struct {
		Properties struct {
			VMID           string
			OSProfile      struct{ AdminUsername string }
			NetworkProfile struct{ NetworkInterfaces []struct{ ID string } }
		}
	}
	if err := s.Get(ctx, id, apiCompute, &vm); err != nil {
		return nil, err
	}
	if user == "" {
		user = vm.Properties.OSProfile.AdminUsername
	}
	if len(vm.Properties.NetworkProfile.NetworkInterfaces) == 0 {
		return nil, fmt.Errorf("%s has no network interface", id)
	}
	address, err := s.address(ctx, vm.Properties.NetworkProfile.NetworkInterfaces[0].ID)
	if err != nil {
		return nil, err
	}
	hosts, err := contextPath()
	if err != nil {
		return nil, err
	}
	// A machine's host key is kept under the machine's own identity: another
	// machine may later have the same address.
	return []string{
		"-o", "HostKeyAlias=" + vm.Properties.VMID, "-o", "StrictHostKeyChecking=accept-new",
		"-o", "UserKnownHostsFile=" + filepath.Join(filepath.Dir(hosts), "known_hosts"), "-o", "ConnectTimeout=10", "-o", "LogLevel=ERROR",
		user + "@" + address,
	}, nil
}

// awaitSSH waits until a login with the injected key works.
func (s *session) awaitSSH(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, sshPatience)
	defer cancel()
	arguments, err := s.sshArguments(ctx, id, "")
	if err != nil {
		return err
	}
	_, host, _ := strings.Cut(arguments[len(arguments)-1], "@")
	arguments = append(append([]string{"-o", "BatchMode=yes"}, arguments...), "true")
	for {
		if portOpen(host) {
			var out []byte
			if out, err = exec.CommandContext(ctx, "ssh", arguments...).CombinedOutput(); err == nil {
				return nil
			}
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
		}
		select {
		case <-ctx.Done():
			return &Error{Code: ExitFailed, Err: fmt.Errorf("%s does not answer over SSH after %s: %w", id, sshPatience, err), Hint: "see what it says: hallmark vm console " + id[strings.LastIndexByte(id, '/')+1:]}
		case <-time.After(time.Second):
		}
	}
}

func portOpen(host string) bool {
	connection, err := net.DialTimeout("tcp", net.JoinHostPort(host, "22"), 2*time.Second)
	if err != nil {
		return false
	}
	return connection.Close() == nil
}

func base64File(path string) (string, error) {
	raw, err := os.ReadFile(path)
	return base64.StdEncoding.EncodeToString(raw), err
}
