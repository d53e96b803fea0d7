package images

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/pipeline"
	"hallmark.dev/hallmark/internal/provider"
)

// runLog is a run's log: a file of one JSON event a line. It is for people; a
// run does not depend on it, so a line lost in a crash loses nothing else.
type runLog struct {
	mu   sync.Mutex
	path string
}

func logName(id arm.ID) string {
	return strings.ToLower(id.Parent().Name() + "-" + id.Name())
}

func logPath(dir, name string) string { return filepath.Join(dir, name+".jsonl") }

func openLog(dir, name string) (*runLog, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the run's log: %w", err)
	}
	return &runLog{path: logPath(dir, name)}, nil
}

func (l *runLog) append(e pipeline.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line, err := json.Marshal(e)
	if err != nil {
		return
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = f.Write(append(line, '\n'))
}

// logPage is how many events one answer carries at most.
const logPage = 500

// LogPage is the answer to GET …/runs/R/log?offset=N. Next is the offset to ask for next, in
// bytes of the log; Done says that the run has ended and nothing follows.
type LogPage struct {
	Events []json.RawMessage `json:"events"`
	Next   int64             `json:"next"`
	Done   bool              `json:"done"`
}

func (p *images) readLog(_ context.Context, w *provider.Write) (any, error) {
	offset, err := strconv.ParseInt(cmp.Or(w.Query.Get("offset"), "0"), 10, 64)
	if err != nil || offset < 0 {
		return nil, arm.BadRequest(arm.CodeInvalidParameter, "offset", "offset must be a number of bytes: 0, or what the last answer gave as next.")
	}
	run, err := readRun(w.Doc.Body)
	if err != nil {
		return nil, err
	}
	page, err := readPage(logPath(p.LogDir, logName(w.ID)), offset)
	if err != nil {
		return nil, err
	}
	page.Done = run.Status.Final() && len(page.Events) < logPage
	return page, nil
}

func readPage(path string, offset int64) (LogPage, error) {
	page := LogPage{Events: []json.RawMessage{}, Next: offset}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return page, nil
	}
	if err != nil {
		return page, fmt.Errorf("read the run's log: %w", err)
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return page, fmt.Errorf("read the run's log: %w", err)
	}
	lines := bufio.NewReader(f)
	for len(page.Events) < logPage {
		line, err := lines.ReadBytes('\n')
		if err != nil { // a line that is still being written waits for the next call
			break
		}
		page.Next += int64(len(line))
		if json.Valid(line) {
			page.Events = append(page.Events, json.RawMessage(line[:len(line)-1]))
		}
	}
	return page, nil
}
