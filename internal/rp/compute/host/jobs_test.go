package host

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/rp/compute"
)

// What a guest says of a job comes from the guest: any text gives a state or an error.
func TestParseJob(t *testing.T) {
	began, ended := time.Unix(1700000000, 0).UTC(), time.Unix(1700000060, 0).UTC()
	for text, want := range map[string]compute.JobState{
		"state unknown\n":                   {},
		"state running\nbegan 1700000000\n": {Known: true, Began: began},
		"state lost\nbegan 1700000000\n":    {Known: true, Lost: true, Began: began},
		"state done 3\nbegan 1700000000\nended 1700000060\nstdout b3V0Cg==\nstderr \n": {Known: true, Done: true, ExitCode: 3, Began: began, Ended: ended, Stdout: "out\n"},
		"state running\nbegan soon\nstdout %%%\nelse\n":                                {Known: true},
	} {
		got, err := parseJob(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", text, diff)
		}
	}
	for _, text := range []string{"", "state", "state done", "state done x", "began 1\n"} {
		if _, err := parseJob(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

func FuzzParseJob(f *testing.F) {
	f.Add("state done 3\nbegan 1700000000\nstdout b3V0Cg==\n")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseJob(text) })
}

// What becomes part of a shell's text is checked, whoever chose it.
func TestJobNames(t *testing.T) {
	for _, job := range []compute.Job{
		{ID: "x", Dir: "/d"}, {ID: one, Dir: "d"}, {ID: one, Dir: "/d/../e"}, {ID: one, Dir: "/d'"}, {ID: one, Dir: "/d", User: "a b"}, {ID: one, Dir: "/d", User: "-x"},
	} {
		if _, err := (Jobs{}).run(t.Context(), two, job, look, ""); err == nil {
			t.Errorf("%+v was taken", job)
		}
	}
}
