package host

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/rp/compute"
)

// TestJobScripts runs the scripts that drive jobs, with this host in the guest's place.
func TestJobScripts(t *testing.T) {
	if os.Getenv("HALLMARK_SYSTEM_TESTS") != "1" {
		t.Skip("runs shell scripts as root: set HALLMARK_SYSTEM_TESTS=1")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, as in a guest")
	}
	dir := filepath.Join(t.TempDir(), "download", "0")
	run := func(job compute.Job, script, input string) string {
		t.Helper()
		text, err := scriptFor(job, script, input)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", text).Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	await := func(job compute.Job, wanted func(compute.JobState) bool) compute.JobState {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for {
			s, err := parseJob(run(job, look, ""))
			if err != nil {
				t.Fatal(err)
			}
			if wanted(s) {
				return s
			}
			if ctx.Err() != nil {
				t.Fatalf("the job got nowhere: %+v", s)
			}
		}
	}
	ended := func(s compute.JobState) bool { return s.Done || s.Lost }

	job := compute.Job{ID: one, Dir: dir, Script: "echo run >>../count; pwd; echo it\\'s >&2; exit 3\n"}
	if s, err := parseJob(run(job, look, "")); err != nil || s.Known {
		t.Errorf("before it has begun: %+v, %v", s, err)
	}
	for range 3 { // as after crashes
		run(job, begin, job.Script)
	}
	if s := await(job, ended); s.ExitCode != 3 || s.Stdout != dir+"\n" || s.Stderr != "it's\n" || s.Began.IsZero() || s.Ended.IsZero() {
		t.Errorf("%+v", s)
	}
	if count, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "count")); err != nil || string(count) != "run\n" {
		t.Errorf("it ran %q, %v", count, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".hallmark", "script")); err == nil {
		t.Error("the script, which may hold secrets, is left")
	}

	other := compute.Job{ID: two, Dir: dir, User: "nobody", Script: "id -un; sleep 1000\n"} // takes the folder over
	if out, err := exec.CommandContext(t.Context(), "chmod", "-R", "a+rX", filepath.Dir(filepath.Dir(filepath.Dir(dir)))).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	run(other, begin, other.Script)
	if s := await(other, func(s compute.JobState) bool { return s.Stdout != "" || ended(s) }); s.Stdout != "nobody\n" || ended(s) {
		t.Errorf("%+v", s)
	}
	if s, err := parseJob(run(job, look, "")); err != nil || s.Known {
		t.Errorf("the first is still known: %+v, %v", s, err)
	}
	run(job, forget, "") // is not there any more: nothing happens
	if s, err := parseJob(run(other, look, "")); err != nil || !s.Known || ended(s) {
		t.Errorf("another's end ended it: %+v, %v", s, err)
	}
	pid, err := os.ReadFile(filepath.Join(dir, ".hallmark", "pid"))
	if err != nil {
		t.Fatal(err)
	}
	run(other, forget, "")
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder is left")
	}
	until := time.Now().Add(time.Minute)
	for alive(strings.TrimSpace(string(pid))) {
		if time.Now().After(until) {
			t.Fatal("the script goes on")
		}
	}
}

func alive(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
