package instance

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestASecondServerIsKeptOut(t *testing.T) {
	dir := Dir(t.TempDir())
	if err := dir.Make(); err != nil {
		t.Fatal(err)
	}
	release, err := dir.Lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dir.Lock(); !errors.Is(err, ErrLocked) {
		t.Errorf("second lock: got %v, want ErrLocked", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, err := dir.Lock()
	if err != nil {
		t.Fatalf("after release: %v", err)
	}
	again()
}

func TestADeadServersRecordIsNotBelieved(t *testing.T) {
	dir := Dir(t.TempDir())
	if err := dir.Make(); err != nil {
		t.Fatal(err)
	}
	if _, running, err := dir.Running(); running || err != nil {
		t.Fatalf("empty directory: running %v, err %v", running, err)
	}
	if err := dir.Announce(Server{URL: "https://127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	s, running, err := dir.Running()
	if err != nil || !running || s.PID != os.Getpid() {
		t.Fatalf("own record: got %+v running %v err %v", s, running, err)
	}
	// The same process id at another start time is another process.
	raw := []byte(`{"pid":` + strconv.Itoa(s.PID) + `,"startTime":1}`)
	if err := os.WriteFile(dir.record(), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, running, _ := dir.Running(); running {
		t.Error("a record with another start time was believed")
	}
}

// A server that was killed stays in the process table until its parent looks,
// which the first process of some containers never does.
func TestAKilledServerDoesNotRun(t *testing.T) {
	dir := Dir(t.TempDir())
	if err := dir.Make(); err != nil {
		t.Fatal(err)
	}
	server := exec.Command("cat")
	input, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	start, err := startTime(server.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(Server{PID: server.Process.Pid, StartTime: start})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir.record(), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, running, err := dir.Running(); err != nil || !running {
		t.Fatalf("before the kill: running %v, %v", running, err)
	}
	if err := server.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, server.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if _, running, err := dir.Running(); err != nil || running {
		t.Errorf("after the kill: running %v, %v", running, err)
	}
	_ = server.Wait()
}
