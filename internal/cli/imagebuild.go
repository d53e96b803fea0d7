package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/image"
	"hallmark.dev/hallmark/internal/pipeline"
)

const (
	typePipeline = "Hallmark.Images/pipelines"
	typeRun      = "Hallmark.Images/pipelines/runs"
)

type buildOptions struct {
	scope
	order     pipeline.Order
	maxAge    string
	variables map[string]string
	noWait    bool
	shell     bool
	verbose   bool
}

func (a *App) imageBuild() *cobra.Command {
	var o buildOptions
	c := &cobra.Command{
		Use: "build RECIPE", Short: "Build an image, test it on a fresh machine, publish it", Args: cobra.ExactArgs(1),
		Long: "Builds the image that a recipe describes, boots a fresh machine from it, runs every test in that machine,\n" +
			"and publishes it to its gallery. What an unchanged build would make again is answered with the version that is there.\n\n" + exitHelp,
		Example: "  hallmark image build examples/web-base/recipe.yaml\n" +
			"  hallmark image build recipe.yaml --if-base-changed --max-age 30d   # monthly, from cron: exit 3 is \"nothing to do\"",
		RunE: func(c *cobra.Command, arguments []string) error { return a.build(c.Context(), arguments[0], o) },
	}
	o.register(c)
	flags := c.Flags()
	flags.StringVar(&o.order.Version, "version", "", "publish as this version (default: the next one)")
	flags.BoolVar(&o.order.Force, "force", false, "build although nothing has changed")
	flags.BoolVar(&o.order.NoCache, "no-cache", false, "run every step again")
	flags.BoolVar(&o.order.IfBaseChanged, "if-base-changed", false, "build only if the base image has changed since the last published version")
	flags.StringVar(&o.maxAge, "max-age", "", "with --if-base-changed: build in any case when the last version is older, such as 30d")
	flags.StringToStringVar(&o.variables, "var", nil, "values of the recipe's variables, as name=value,…")
	flags.BoolVar(&o.verbose, "verbose", false, "show every line that the steps print")
	flags.BoolVar(&o.shell, "shell-on-failure", false, "when a step fails, open a shell in the state that it left (on the server's host, as root)")
	flags.BoolVar(&o.noWait, "no-wait", false, "print the run and return")
	return c
}

func (a *App) build(ctx context.Context, path string, o buildOptions) error {
	recipe, err := loadRecipe(path, o.variables)
	if err != nil {
		return err
	}
	secrets, err := readSecrets(ctx, recipe.Secrets)
	if err != nil {
		return err
	}
	if o.maxAge != "" {
		age, err := image.ParseDuration(o.maxAge)
		if err != nil {
			return usage("--max-age: %w", err)
		}
		o.order.MaxAge = int64(age.Std().Seconds())
	}
	o.order.GitCommit = gitCommit(ctx, filepath.Dir(path))
	s, err := a.open(o.scope)
	if err != nil {
		return err
	}
	id, err := s.startRun(ctx, recipe, o.order, secrets)
	if err != nil {
		return err
	}
	if o.noWait {
		return a.print(map[string]string{"id": id})
	}
	err = s.follow(ctx, id, o.verbose)
	if o.shell && err != nil {
		return s.shellAfter(ctx, id, err)
	}
	return err
}

// loadRecipe reads a recipe and the files that it names, and returns it with
// those inside: a recipe that can be sent somewhere else.
func loadRecipe(path string, variables map[string]string) (*image.Recipe, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, "recipe.yaml")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the recipe: %w", err)
	}
	recipe, err := image.ParseRecipe(text, image.ParseOptions{File: path, Variables: variables})
	var problems image.Problems
	if errors.As(err, &problems) {
		return nil, &Error{Code: ExitUsage, Err: errors.New(problems.Render(text))}
	}
	if err != nil {
		return nil, err
	}
	return embedFiles(recipe, filepath.Dir(path))
}

func readSecrets(ctx context.Context, declared map[string]image.Secret) (map[string]string, error) {
	secrets := map[string]string{}
	for name, s := range declared {
		value, err := readSecret(ctx, s)
		if err != nil {
			return nil, &Error{Code: ExitUsage, Err: fmt.Errorf("secret %s: %w", name, err), Hint: "the recipe says where each secret comes from, under secrets"}
		}
		secrets[name] = value
	}
	return secrets, nil
}

func readSecret(ctx context.Context, s image.Secret) (string, error) {
	switch {
	case s.Env != "":
		value, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set", s.Env)
		}
		return value, nil
	case s.File != "":
		raw, err := os.ReadFile(s.File)
		return strings.TrimSuffix(string(raw), "\n"), err
	case len(s.Command) > 0:
		raw, err := exec.CommandContext(ctx, s.Command[0], s.Command[1:]...).Output()
		if err != nil {
			// The output may hold the secret: only how it ended is said.
			return "", fmt.Errorf("the command %s ended with: %w", s.Command[0], err)
		}
		return strings.TrimSuffix(string(raw), "\n"), nil
	}
	return "", errors.New("has no env, file or command")
}

// gitCommit is the commit that the recipe's directory is at; empty outside a
// repository, and marked when there are changes on top.
func gitCommit(ctx context.Context, dir string) string {
	out, err := exec.CommandContext(ctx, "git", "-C", dir, "rev-parse", "HEAD").Output()
	if err != nil {
		return ""
	}
	commit := strings.TrimSpace(string(out))
	if changes, err := exec.CommandContext(ctx, "git", "-C", dir, "status", "--porcelain", "--", ".").Output(); err == nil && len(changes) > 0 {
		commit += "-dirty"
	}
	return commit
}

func (s *session) startRun(ctx context.Context, recipe *image.Recipe, order pipeline.Order, secrets map[string]string) (string, error) {
	if err := s.ensureGroup(ctx); err != nil {
		return "", err
	}
	id := s.resource(typePipeline, recipe.Name)
	body := map[string]any{"location": s.Location, "properties": map[string]any{"recipe": recipe}}
	if err := s.Put(ctx, id, apiHallmark, body, nil); err != nil {
		return "", err
	}
	asked := map[string]any{}
	if err := remarshal(order, &asked); err != nil {
		return "", err
	}
	if len(secrets) > 0 {
		asked["secrets"] = secrets
	}
	var run struct{ ID string }
	err := s.Do(ctx, azure.Request{Method: "POST", Path: id + "/run", APIVersion: apiHallmark, Body: asked}, &run)
	return run.ID, err
}

func remarshal(from, into any) error {
	raw, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// followEvery is how often a run's log is read.
const followEvery = 500 * time.Millisecond

// follow shows a run's log until it has ended. Interrupted once it cancels the
// run; the run goes on if the terminal merely goes away.
func (s *session) follow(ctx context.Context, id string, verbose bool) error {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupted)
	view := &runView{app: s.app, start: s.app.Now(), verbose: verbose}
	for offset := int64(0); ; {
		var page struct {
			Events []pipeline.Event
			Next   int64
			Done   bool
		}
		query := url.Values{"offset": {strconv.FormatInt(offset, 10)}}
		if err := s.Do(ctx, azure.Request{Method: "GET", Path: id + "/log", APIVersion: apiHallmark, Query: query}, &page); err != nil {
			return err
		}
		for _, e := range page.Events {
			view.show(e)
		}
		if offset = page.Next; page.Done {
			return s.conclude(ctx, id, view)
		}
		select {
		case <-interrupted:
			s.app.progress("Canceling the run; interrupt again to leave it to itself.")
			signal.Stop(interrupted)
			if err := s.post(ctx, id, "cancel", apiHallmark, nil, nil); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followEvery):
		}
	}
}

// conclude says how a run ended, and turns that into an exit code.
func (s *session) conclude(ctx context.Context, id string, view *runView) error {
	run, err := s.run(ctx, id)
	if err != nil {
		return err
	}
	view.summary(run)
	if s.app.output != "table" || s.app.query != "" {
		if err := s.app.print(run); err != nil {
			return err
		}
	}
	switch run.Status {
	case pipeline.Succeeded:
		return nil
	case pipeline.UpToDate:
		if run.Order.IfBaseChanged {
			return &Error{Code: ExitNothing, Err: fmt.Errorf("nothing to do: %s is what a build would make", run.Version)}
		}
		return nil
	case pipeline.NeedsRepair:
		return &Error{Code: ExitNeedsRepair, Err: fmt.Errorf("version %s needs repair: %s", run.Version, run.Error.Message), Hint: run.Next}
	}
	message := string(run.Status)
	if run.Error != nil {
		message = run.Error.Code + ": " + run.Error.Message
	}
	return &Error{Code: ExitFailed, Err: fmt.Errorf("the run ended as %s: %s", run.Status, message), Hint: run.Next}
}

func (s *session) run(ctx context.Context, id string) (*pipeline.Run, error) {
	var document struct {
		Properties struct{ Run *pipeline.Run }
	}
	if err := s.Get(ctx, id, apiHallmark, &document); err != nil {
		return nil, err
	}
	if document.Properties.Run == nil {
		return nil, fmt.Errorf("%s is no run", id)
	}
	return document.Properties.Run, nil
}
