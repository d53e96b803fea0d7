package vm

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// serve stands for QEMU or an agent on a socket: answer maps a command's name
// to what is sent back, a line or more.
func serve(t *testing.T, socket, greeting string, answer func(command string, id int64) string) (dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "vm") // a TempDir may be too long to listen in
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, socket))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go converse(c, greeting, answer)
		}
	}()
	return dir
}

func converse(c net.Conn, greeting string, answer func(string, int64) string) {
	defer c.Close()
	fmt.Fprint(c, greeting)
	for lines := bufio.NewScanner(c); lines.Scan(); {
		var m struct {
			Execute   string
			Arguments struct{ ID int64 }
		}
		if json.Unmarshal([]byte(strings.TrimPrefix(lines.Text(), "\xff")), &m) != nil {
			return
		}
		fmt.Fprint(c, answer(m.Execute, m.Arguments.ID))
	}
}

const greeting = `{"QMP": {"version": {}, "capabilities": []}}` + "\n"

func TestQMP(t *testing.T) {
	dir := serve(t, QMPSocket, greeting, func(command string, _ int64) string {
		switch command {
		case "qmp_capabilities":
			return `{"return": {}}` + "\n"
		case "query-status":
			return `{"event": "RESUME", "timestamp": {}}` + "\n" + `{"return": {"status": "running"}}` + "\n"
		}
		return `{"error": {"class": "CommandNotFound", "desc": "no such command"}}` + "\n"
	})
	var got struct{ Status string }
	if err := qmp(context.Background(), dir, "query-status", nil, &got); err != nil || got.Status != "running" {
		t.Errorf("%+v, %v", got, err)
	}
	var failed *QMPError
	if err := qmp(context.Background(), dir, "nonsense", nil, nil); !errors.As(err, &failed) || failed.Class != "CommandNotFound" {
		t.Errorf("%v", err)
	}
}

// TestQMPThatNeverAnswers: a hung QEMU must not hang us.
func TestQMPThatNeverAnswers(t *testing.T) {
	dir := serve(t, QMPSocket, "", func(string, int64) string { return "" })
	ctx, cancel := context.WithCancelCause(context.Background())
	enough := errors.New("enough")
	cancel(enough)
	if err := qmp(ctx, dir, "query-status", nil, nil); err == nil {
		t.Error("no error")
	}
}

func TestAgentSkipsWhatIsLeftInTheChannel(t *testing.T) {
	dir := serve(t, AgentSocket, `{"return": {"old": "answer"}}`+"\n", func(command string, id int64) string {
		switch command {
		case "guest-sync-delimited":
			return `{"return": 1}` + "\n" + fmt.Sprintf("\xff{\"return\": %d}\n", id)
		case "guest-exec":
			return `{"return": {"pid": 7}}` + "\n"
		case "guest-exec-status":
			return `{"return": {"exited": true, "exitcode": 3, "out-data": "aGVsbG8=", "err-truncated": true}}` + "\n"
		}
		return `{"return": {}}` + "\n"
	})
	a := Agent{dir}
	if err := a.Ping(context.Background()); err != nil {
		t.Error(err)
	}
	got, err := a.Run(context.Background(), Command{Path: "/bin/true"})
	if err != nil || got.ExitCode != 3 || string(got.Stdout) != "hello" || !got.Truncated {
		t.Errorf("%+v, %v", got, err)
	}
	// The agent claims to have written nothing: no endless loop.
	if err := a.WriteFile(context.Background(), "/x", []byte("x")); err == nil {
		t.Error("a write of nothing succeeded")
	}
}
