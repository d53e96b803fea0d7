package cli

import (
	"bytes"
	"context"
	"time"

	"github.com/spf13/cobra"
)

// consoleEvery is how often a console is read that is followed.
const consoleEvery = time.Second

func (a *App) vmConsole() *cobra.Command {
	var follow bool
	c := a.onVM("console NAME", "Print a machine's serial console", func(ctx context.Context, s *session, id string) error {
		text, err := s.console(ctx, id)
		if err != nil {
			return err
		}
		if _, err := a.Out.Write(text); err != nil || !follow {
			return err
		}
		return s.followConsole(ctx, id, text)
	})
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on printing what the machine says, until interrupted")
	return c
}

// console is the end of what a machine has said.
func (s *session) console(ctx context.Context, id string) ([]byte, error) {
	var answer struct{ SerialConsoleLogBlobURI string }
	if err := s.post(ctx, id, "retrieveBootDiagnosticsData", apiCompute, nil, &answer); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err := s.download(ctx, answer.SerialConsoleLogBlobURI, &text)
	return text.Bytes(), err
}

// followConsole prints what is new, until the command is interrupted or the
// machine is gone.
func (s *session) followConsole(ctx context.Context, id string, seen []byte) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(consoleEvery):
		}
		now, err := s.console(ctx, id)
		if err != nil {
			return err
		}
		if _, err := s.app.Out.Write(unseen(seen, now)); err != nil {
			return err
		}
		seen = now
	}
}

// overlap is how much of the end of what was seen is looked for. A console is
// only ever added to, but of a long one, or a restarted machine's, the beginning
// is gone the next time.
const overlap = 512

// unseen is what now has after the end of seen; all of it where they have nothing
// in common.
func unseen(seen, now []byte) []byte {
	if rest, ok := bytes.CutPrefix(now, seen); ok {
		return rest
	}
	end := seen[max(0, len(seen)-overlap):]
	if i := bytes.LastIndex(now, end); i >= 0 {
		return now[i+len(end):]
	}
	return now
}
