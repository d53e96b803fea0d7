package imagebuilder

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/provider"
)

// keptLogs is how many runs of a template keep their log.
const keptLogs = 10

// logDir is a template's directory of logs. Ids are no file names.
func (s *service) logDir(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(s.Logs, hex.EncodeToString(sum[:12]))
}

func (s *service) logFile(key, run string) string {
	return filepath.Join(s.logDir(key), run+".jsonl")
}

// runLog is the log of one run: one build.Event as JSON a line. It is safe for
// concurrent use. Losing a line loses no state, so nothing is flushed.
type runLog struct {
	mu  sync.Mutex
	f   *os.File
	err error // the first
}

// openLog continues the log of a run and forgets those of old runs.
func (s *service) openLog(key, run string) (*runLog, error) {
	dir := s.logDir(key)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the log of a run: %w", err)
	}
	entries, err := os.ReadDir(dir) // by name, and so by age
	if err != nil {
		return nil, fmt.Errorf("open the log of a run: %w", err)
	}
	for i := 0; i < len(entries)-keptLogs; i++ {
		if err := os.Remove(filepath.Join(dir, entries[i].Name())); err != nil {
			return nil, fmt.Errorf("forget an old log: %w", err)
		}
	}
	f, err := os.OpenFile(s.logFile(key, run), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of a run: %w", err)
	}
	return &runLog{f: f}, endLine(f)
}

// endLine ends a line that a killed process began.
func endLine(f *os.File) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || end == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, end-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err = f.Write([]byte("\n"))
	return err
}

func (l *runLog) write(e build.Event) {
	line, err := json.Marshal(e)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		_, err = l.f.Write(append(line, '\n'))
	}
	l.err = errors.Join(l.err, err)
}

func (l *runLog) Close() error { return errors.Join(l.err, l.f.Close()) }

// logPage is the answer of readLog.
type logPage struct {
	RunID  string            `json:"runId"`
	Events []json.RawMessage `json:"events"`
	Next   int64             `json:"next"` // the offset of the next page
	Done   bool              `json:"done"` // the run has ended, and these were the last
}

// maxLogPage is how many bytes of log an answer has at most.
const maxLogPage = 1 << 20

type logRequest struct {
	Offset int64
	RunID  string
}

func readLogRequest(w *provider.Write) (request logRequest, err error) {
	if len(w.Request) > 0 {
		err = json.Unmarshal(w.Request, &request)
	}
	if text := w.Query.Get("offset"); text != "" && err == nil {
		request.Offset, err = strconv.ParseInt(text, 10, 64)
	}
	request.RunID = cmp.Or(request.RunID, w.Query.Get("runid"))
	if err != nil || request.Offset < 0 {
		return request, arm.BadRequest(arm.CodeInvalidRequestContent, "body", "readLog takes {\"offset\":0}, an offset that an earlier answer named, or nothing.")
	}
	return request, nil
}

// applyReadLog: POST …/readLog {"offset":0,"runId":"…"}, or GET …/readLog?offset=0. Without
// a runId it is the last run's.
func (s *service) applyReadLog(_ context.Context, w *provider.Write) (any, error) {
	request, err := readLogRequest(w)
	if err != nil {
		return nil, err
	}
	st, err := readState(w.Doc)
	if err != nil {
		return nil, err
	}
	if st.Run == nil {
		return nil, arm.Conflict(arm.CodeConflict, w.ID.String(), "The image template has not been run yet, so there is no log.")
	}
	if request.RunID == "" {
		request.RunID = st.Run.ID
	}
	if !runID.MatchString(request.RunID) {
		return nil, arm.BadRequest(arm.CodeInvalidParameter, "runId", "'%.60s' is not the id of a run.", request.RunID)
	}
	page, err := readPage(s.logFile(w.Doc.Key, request.RunID), request.Offset)
	if errors.Is(err, fs.ErrNotExist) {
		if request.RunID != st.Run.ID || st.Run.Ended {
			return nil, arm.Errorf(404, arm.CodeResourceNotFound, "There is no log of the run '%s'; the last %d runs keep theirs.", request.RunID, keptLogs).At("runId")
		}
		err = nil // it is still in the queue
	}
	page.RunID = request.RunID
	page.Done = page.Done && (st.Run.Ended || request.RunID != st.Run.ID)
	return page, err
}

// readPage reads whole lines from an offset; Done means that the file ends there.
func readPage(file string, offset int64) (logPage, error) {
	page := logPage{Events: []json.RawMessage{}, Next: offset}
	f, err := os.Open(file)
	if err != nil {
		return page, err
	}
	defer f.Close()
	buffer := make([]byte, maxLogPage)
	n, err := f.ReadAt(buffer, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return page, err
	}
	page.Done = errors.Is(err, io.EOF)
	text := buffer[:n]
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	page.Next = offset + int64(len(text))
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); json.Valid(line) { // not one that a kill tore
			page.Events = append(page.Events, json.RawMessage(line))
		}
	}
	return page, nil
}
