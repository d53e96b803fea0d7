package image

import (
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func recipeWithTests(t *testing.T, tests string) *Recipe {
	t.Helper()
	r, err := ParseRecipe([]byte(minimal+"standardTests: {skip: ["+strings.Join(StandardTestNames(), ", ")+"]}\ntests:\n"+tests), ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func runScripts(t *testing.T, scripts []string) []string {
	t.Helper()
	var outputs []string
	for _, script := range scripts {
		command := exec.Command("sh", "-s")
		command.Stdin = strings.NewReader(script)
		out, err := command.Output()
		if err != nil {
			t.Fatalf("the script failed: %v\n%s", err, out)
		}
		outputs = append(outputs, string(out))
	}
	return outputs
}

func statuses(report TestReport) map[string]string {
	out := map[string]string{}
	for _, r := range report.Results {
		out[r.Name] = r.Status + ": " + r.Message
	}
	return out
}

// TestScriptsOnThisMachine lets the real sh, stat, grep, getent and the kernel
// answer.
func TestScriptsOnThisMachine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "it's a file")
	if err := os.WriteFile(file, []byte("hello\nworld $HOME\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	yaml := `
- {name: good command, command: {run: "echo out; echo err >&2; exit 3", exitCode: 3, stdout: {equals: out}, stderr: {contains: err}}}
- {name: wrong code, command: "exit 7"}
- {name: wrong output, command: {run: "echo abc", stdout: {matches: "^x", notContains: b}}}
- {name: reads stdin, command: {run: cat, stdout: {equals: ""}}}
- {name: good file, file: {path: "FILE", mode: 640, sha256: d2b3402df1cb3e2ba2e9b49a9dd23ad7d6bb43bc0c8beeebf7dd3d9bae0c4f57, contains: "world $HOME", notContains: nothing}}
- {name: bad file, file: {path: "FILE", mode: "0644", contains: absent, notContains: hello}}
- {name: no file, file: {path: /nowhere/at/all, exists: false}}
- {name: missing file, file: {path: /nowhere/at/all}}
- {name: sysctl, sysctl: {key: kernel.ostype, value: Linux}}
- {name: bad sysctl, sysctl: {key: kernel.ostype, value: Plan9}}
- {name: root, user: {name: root, uid: 0, home: /root, groups: [root]}}
- {name: nobody, user: {name: no-such-user-here, exists: false}}
- {name: closed port, port: {number: 1, listening: false}}
`
	r := recipeWithTests(t, strings.ReplaceAll(yaml, "FILE", file))
	digest, err := exec.Command("sha256sum", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	r.Tests[4].File.SHA256 = strings.Fields(strings.TrimPrefix(string(digest), "\\"))[0]
	plan := PlanTests(r, TestInput{Nonce: "abc"})
	want := map[string]string{
		"good command": "passed: ", "wrong code": "failed: exit code 7, expected 0",
		"wrong output": `failed: stdout contains "b"; stdout does not match "^x"`, "reads stdin": "passed: ",
		"good file": "passed: ", "bad file": `failed: mode is 0640, expected 0644; it does not contain "absent"; it contains "hello"`,
		"no file": "passed: ", "missing file": "failed: /nowhere/at/all does not exist",
		"sysctl": "passed: ", "bad sysctl": `failed: kernel.ostype is "Linux", expected "Plan9"`,
		"root": "passed: ", "nobody": "passed: ", "closed port": "passed: ",
	}
	for _, batch := range []int{0, 3} {
		scripts := plan.Scripts(batch)
		if batch == 0 && len(scripts) != 1 || batch == 3 && len(scripts) != 5 {
			t.Errorf("batches of %d make %d scripts", batch, len(scripts))
		}
		if diff := cmp.Diff(want, statuses(plan.Judge(runScripts(t, scripts)...))); diff != "" {
			t.Errorf("batches of %d: %s", batch, diff)
		}
	}
}

func line(plan *TestPlan, id, code, millis int, stdout, stderr string) string {
	e := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s %d %d %d .%s .%s\n", plan.marker(), id, code, millis, e([]byte(stdout)), e([]byte(stderr)))
}

// TestHostileOutput: whatever a machine prints, a test that was not reported
// exactly once does not pass.
func TestHostileOutput(t *testing.T) {
	plan := PlanTests(recipeWithTests(t, "- {name: a, command: 'true'}\n- {name: b, command: 'true'}\n"), TestInput{Nonce: "n0nce; rm -rf /"})
	good := line(plan, 0, 0, 5, "", "")
	for name, c := range map[string]struct{ output, a, b string }{
		"nothing":        {"", "not report", "not report"},
		"noise around":   {"\x00garbage\n" + good + "HALLMARK-TEST- 1 0 0 . .\n", "", "not report"},
		"twice":          {good + good, "more than once", "not report"},
		"unknown id":     {good + line(plan, 99, 0, 5, "", ""), "", "not report"},
		"bad base64":     {plan.marker() + " 0 0 5 .!!! .\n", "not report", "not report"},
		"cut off":        {good[:len(good)-3], "not report", "not report"},
		"negative":       {plan.marker() + " -1 0 5 . .\n", "not report", "not report"},
		"escape codes":   {good + line(plan, 1, 1, 5, "", "\x1b[2Jboo"), "", "\uFFFD[2Jboo"},
		"carriage lines": {strings.ReplaceAll(good, "\n", "\r\n"), "", "not report"},
		"timeout":        {line(plan, 0, 124, 60_001, "", "") + line(plan, 1, 124, 5, "", ""), "did not end within 1m0s", "exit code 124"},
	} {
		results := plan.Judge(c.output).Results
		for i, want := range []string{c.a, c.b} {
			if want == "" && results[i].Status != StatusPassed || want != "" && (results[i].Status != StatusFailed || !strings.Contains(results[i].Message, want)) {
				t.Errorf("%s: test %d is %s: %s", name, i, results[i].Status, results[i].Message)
			}
		}
	}
}

const bootOutput = `manager.FirmwareTimestampMonotonic=2500000
manager.LoaderTimestampMonotonic=500000
manager.SystemState=running
target.Id=graphical.target
target.ActiveState=active
target.ActiveEnterTimestampMonotonic=10000000
ssh.service.ActiveState=active
ssh.service.ActiveEnterTimestampMonotonic=9000000
sshd.service.ActiveState=inactive
`

func TestStandardJudgements(t *testing.T) {
	tattoo, _ := Tattoo(someFacts())
	b64 := base64.StdEncoding.EncodeToString
	r, err := ParseRecipe([]byte(minimal+"standardTests: {allowedFailedUnits: [known.service]}\nbootBudgets: [{accelerator: kvm, defaultTarget: 12s, ssh: 12s}, {accelerator: tcg, relativeToBase: 1.5}]\n"), ParseOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tcg := TestInput{Accelerator: "tcg", BaseBoot: &BootTimes{DefaultTarget: Duration(8 * time.Second)}}
	for _, c := range []struct {
		name, test string
		in         TestInput
		o          observation
		want       string
	}{
		{"booted", testDefaultTarget, TestInput{}, observation{stdout: bootOutput}, "passed: graphical.target after 12.5s"},
		{"still booting", testDefaultTarget, TestInput{}, observation{stdout: strings.Replace(bootOutput, "target.ActiveState=active", "target.ActiveState=inactive", 1)}, "failed: graphical.target is inactive (system state running)"},
		{"no systemd", testDefaultTarget, TestInput{}, observation{stderr: "sh: systemctl: not found"}, "failed: systemd did not answer: sh: systemctl: not found"},
		{"ssh", testSSH, TestInput{}, observation{stdout: bootOutput}, "passed: ssh.service is active"},
		{"no ssh", testSSH, TestInput{}, observation{}, "failed: none of ssh.service, sshd.service, ssh.socket, sshd.socket is active"},
		{"no failed units", testFailedUnits, TestInput{}, observation{stdout: "known.service loaded failed failed X\n"}, "passed: "},
		{"failed units", testFailedUnits, TestInput{}, observation{stdout: "a.service loaded failed failed A\nb.mount loaded failed failed B\n"}, "failed: failed: a.service, b.mount: see journalctl -u a.service in the machine"},
		{"cloud-init", testCloudInit, TestInput{}, observation{stdout: "...\nstatus: done\n"}, "passed: done"},
		{"cloud-init failed", testCloudInit, TestInput{}, observation{exitCode: 1, stdout: "status: error\ndetail: x\n"}, "failed: cloud-init's status is error: status: error detail: x"},
		{"no cloud-init", testCloudInit, TestInput{}, observation{stdout: "absent\n"}, "skipped: the image has no cloud-init"},
		{"no updates", testSecurityUpdates, TestInput{}, observation{stdout: "Inst vim [1] (2 Debian:12.9/stable [amd64])\n"}, "passed: "},
		{"updates", testSecurityUpdates, TestInput{}, observation{stdout: "Inst libssl3 [3.0.11-1] (3.0.15-1~deb12u1 Debian-Security:12/stable-security [amd64])\n"}, "failed: 1 pending: libssl3: upgrade all packages in a step of the recipe"},
		{"updates of Ubuntu", testSecurityUpdates, TestInput{}, observation{stdout: "Inst tzdata [1] (2 Ubuntu:22.04/jammy-updates, Ubuntu:22.04/jammy-security [all])\n"}, "failed: 1 pending: tzdata: upgrade all packages in a step of the recipe"},
		{"no lists", testSecurityUpdates, TestInput{}, observation{exitCode: 98, stderr: "E: no network"}, "failed: the package lists could not be refreshed, so nothing is known: E: no network"},
		{"tattoo", testTattoo, TestInput{Tattoo: tattoo}, observation{stdout: "tattoo=" + b64(tattoo) + "\n"}, "passed: "},
		{"another's tattoo", testTattoo, TestInput{Tattoo: []byte("x")}, observation{stdout: "tattoo=" + b64(tattoo) + "\n"}, "failed: the tattoo is not the one that this run wrote"},
		{"no signature", testTattoo, TestInput{Signature: []byte("x")}, observation{stdout: "tattoo=" + b64(tattoo) + "\n"}, "failed: the tattoo's signature is not the one that this run wrote"},
		{"no tattoo", testTattoo, TestInput{}, observation{stdout: "tattoo=\n", stderr: "base64: no such file"}, "failed: there is no /etc/hallmark/tattoo in the image: base64: no such file"},
		{"over budget", testBootBudget, TestInput{Accelerator: "kvm"}, observation{stdout: bootOutput}, "failed: default target after 12.5s, allowed are 12s under kvm"},
		{"no budget", testBootBudget, TestInput{}, observation{stdout: bootOutput}, "skipped: there is no budget for the accelerator "},
		{"relative", testBootBudget, tcg, observation{stdout: bootOutput}, "failed: default target (1.5 times the base image's 8s) after 12.5s, allowed are 12s under tcg"},
		{"unknown base", testBootBudget, TestInput{Accelerator: "tcg"}, observation{stdout: bootOutput}, "failed: how long the base image takes to boot is not known"},
	} {
		for _, test := range standardTests(r, c.in) {
			if test.name != c.test {
				continue
			}
			if v := test.judge(c.o); v.status+": "+v.message != c.want {
				t.Errorf("%s: got %s: %s, want %s", c.name, v.status, v.message, c.want)
			}
		}
	}
}

func TestPackageVersions(t *testing.T) {
	yes := true
	for _, c := range []struct{ want, got, status string }{
		{">= 1.22", "1.22.1-9+deb12u3", StatusPassed}, {"1.22.1-9", "1.22.1-9+deb12u3", StatusFailed},
		{"< 1:1.0", "2.0-1", StatusPassed}, {">= 1.0", "1.0~rc1", StatusFailed}, {"", "anything", StatusPassed},
	} {
		p := &PackageTest{Name: "p", Version: c.want, Installed: &yes}
		if v := p.judge(observation{stdout: "status=installed\nversion=" + c.got + "\n"}); v.status != c.status {
			t.Errorf("%s against %s: %s %s", c.got, c.want, v.status, v.message)
		}
	}
}

func TestReports(t *testing.T) {
	report := TestReport{Accelerator: "kvm", Results: []TestResult{
		{Name: "a", Kind: "command", Status: StatusPassed, Duration: Duration(1500 * time.Millisecond)},
		{Name: "b <&>", Kind: "file", Status: StatusFailed, Message: "mode is 0644", Stdout: "line\n", Stderr: "\x01"},
		{Name: "c", Kind: "standard", Status: StatusSkipped, Message: "no cloud-init"},
	}}
	data, err := report.JUnit("web-base 1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	var suites junitSuites
	if err := xml.Unmarshal(data, &suites); err != nil {
		t.Fatal(err)
	}
	if s := suites.Suite; s.Tests != 3 || s.Failures != 1 || s.Skipped != 1 || s.Time != "1.500" || s.Cases[1].Failure.Message != "mode is 0644" {
		t.Errorf("got %+v", s)
	}
	want := "passed  a\nfailed  b <&>  mode is 0644\n        stdout| line\n        stderr| \x01\nskipped c      no cloud-init\n1 passed, 1 failed, 1 skipped\n"
	if diff := cmp.Diff(want, report.Text()); diff != "" {
		t.Error(diff)
	}
	if report.Passed() {
		t.Error("a report with a failure passed")
	}
}

func FuzzJudge(f *testing.F) {
	r, err := ParseRecipe([]byte(minimal+"tests: [{command: id}, {package: {name: a, version: '>= 1'}}, {user: {name: a}}, {file: {path: /x, mode: 644}}]\n"), ParseOptions{})
	if err != nil {
		f.Fatal(err)
	}
	plan := PlanTests(r, TestInput{Nonce: "n"})
	f.Add(0, line(plan, 0, 0, 1, bootOutput, ""))
	f.Add(8, "status=installed\nversion=1:2\n")
	f.Fuzz(func(t *testing.T, id int, output string) {
		report := plan.Judge(output, line(plan, id, 0, 1, output, output))
		if len(report.Results) != len(plan.Names()) {
			t.Fatal("a test has no result")
		}
		if _, err := report.JUnit("x"); err != nil {
			t.Error(err)
		}
	})
}
