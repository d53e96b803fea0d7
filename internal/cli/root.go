package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/azure"
	"hallmark.dev/hallmark/internal/instance"
)

// Exit codes, as `hallmark --help` documents them.
const (
	ExitOK          = 0
	ExitFailed      = 1 // the command could not do what was asked
	ExitUsage       = 2 // the command line is wrong
	ExitNothing     = 3 // there was nothing to do, or nothing was found
	ExitFindings    = 4 // an audit or a check found what --fail-on names
	ExitNeedsRepair = 5 // an image failed its tests and waits for repair
	ExitUnreachable = 6 // the control plane does not answer
)

const exitHelp = `Exit codes: 0 done, 1 failed, 2 wrong usage, 3 nothing to do or not found,
4 findings (audit --fail-on), 5 an image failed its tests, 6 the endpoint does not answer.`

// Error is a failure with an exit code and, where there is one, the next thing
// to do.
type Error struct {
	Code int
	Hint string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

func usage(format string, arguments ...any) error {
	return &Error{Code: ExitUsage, Err: fmt.Errorf(format, arguments...)}
}

// App is what every command shares: where to write, and the global flags.
type App struct {
	In       io.Reader
	Out, Err io.Writer
	Now      func() time.Time
	Version  string

	// EnterFailed opens a shell in what a failed build step left in a data
	// directory, and answers the shell's exit code. The binary wires it.
	EnterFailed func(ctx context.Context, dir instance.Dir, buildRun string) (int, error)

	output, query, contextName, dataDir string
	// child is how a server that this process started ended.
	child chan error
}

// NewApp is an App on the process's own streams.
func NewApp(version string) *App {
	return &App{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Now: time.Now, Version: version}
}

// Command builds the command tree; extra are commands that only the binary can
// wire, such as serve.
func (a *App) Command(extra ...*cobra.Command) *cobra.Command {
	root := &cobra.Command{
		Use:           "hallmark",
		Short:         "Golden VM images and VM compliance, in Azure's own languages",
		Long:          "Hallmark builds golden VM images, tests them on a freshly booted machine, publishes them to a gallery,\nand knows of every machine which image it runs and in what state that image is.\n\n" + exitHelp,
		Version:       a.Version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	flags := root.PersistentFlags()
	flags.StringVarP(&a.output, "output", "o", "table", "what to print: table, json, yaml or tsv")
	flags.StringVar(&a.query, "query", "", "a JMESPath query over the JSON output, as in az")
	flags.StringVar(&a.contextName, "context", os.Getenv("HALLMARK_CONTEXT"), "which endpoint to talk to (see hallmark context list)")
	flags.StringVar(&a.dataDir, "data", defaultDataDir(), "the local control plane's data directory")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage("%w", err) })
	root.AddCommand(a.commands()...)
	root.AddCommand(extra...)
	return root
}

// Run executes a command line and returns the process's exit code, having
// written any error, with its hint, to Err.
func (a *App) Run(ctx context.Context, root *cobra.Command, arguments []string) int {
	root.SetArgs(arguments)
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	code, hint := classify(err)
	fmt.Fprintf(a.Err, "hallmark: %s\n", azure.Message(err))
	if hint != "" {
		fmt.Fprintf(a.Err, "  → %s\n", hint)
	}
	return code
}

func classify(err error) (code int, hint string) {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Code, e.Hint
	case azure.IsNotFound(err):
		return ExitNothing, ""
	case isUnreachable(err):
		return ExitUnreachable, "start the local control plane with: hallmark up"
	case isUsage(err):
		return ExitUsage, "see: hallmark --help"
	}
	return ExitFailed, ""
}

// isUsage recognises what cobra finds wrong with a command line: it has no type for it.
func isUsage(err error) bool {
	for _, begins := range []string{"unknown command", "required flag(s)", "accepts ", "requires at least", "at least one of the flags", "if any flags in the group", "invalid argument"} {
		if strings.HasPrefix(err.Error(), begins) {
			return true
		}
	}
	return false
}

func isUnreachable(err error) bool {
	return strings.Contains(err.Error(), "connection refused") || strings.Contains(err.Error(), "no such host")
}

// progress writes a line of what is going on to stderr.
func (a *App) progress(format string, arguments ...any) {
	fmt.Fprintf(a.Err, format+"\n", arguments...)
}
