package image

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// TestInput is what the tests of one booted machine depend on besides the
// recipe.
type TestInput struct {
	// Nonce marks the lines of our report in the machine's output: random
	// letters and digits, new for every run.
	Nonce string

	// Tattoo and Signature are the bytes that the image has to hold. If they
	// are nil, any tattoo that can be read will do.
	Tattoo, Signature []byte

	// Accelerator is what the machine runs under: kvm or tcg. On Azure: empty,
	// and budgets that name an accelerator are skipped.
	Accelerator string

	// BaseBoot is how long the base image took to boot under the same
	// accelerator; nil if that is not known.
	BaseBoot *BootTimes

	// Patience multiplies every time limit; emulation needs some. 0 means 1.
	Patience int

	// OutputLimit is how much of each output stream of a test is reported, in
	// bytes; 0 means 8 KiB. Azure's run-command passes on only the last 4 KiB
	// of everything, so batches have to be small there.
	OutputLimit int
}

// BootTimes are measured by the machine's own systemd, from power-on where
// the firmware says when that was, else from the kernel's start.
type BootTimes struct {
	DefaultTarget Duration `json:"defaultTarget,omitempty"`
	SSH           Duration `json:"ssh,omitempty"`
}

// TestPlan is every test of one machine. It is carried out by running
// [TestPlan.Scripts] in the machine, each through one run-command, and judged
// by [TestPlan.Judge] from what they print.
type TestPlan struct {
	input TestInput
	tests []plannedTest
}

// plannedTest is a script for the machine and a judgement of what it printed.
type plannedTest struct {
	name, kind string
	script     string
	timeout    Duration
	judge      func(observation) verdict
}

// observation is what one test's script did.
type observation struct {
	exitCode       int
	stdout, stderr string
	duration       time.Duration
	cut            bool // an output was longer than the limit
}

type verdict struct {
	status  string
	message string
}

// Statuses of a result.
const (
	StatusPassed  = "passed"
	StatusFailed  = "failed"
	StatusSkipped = "skipped"
)

func passed(message string) verdict  { return verdict{StatusPassed, message} }
func failed(message string) verdict  { return verdict{StatusFailed, message} }
func skipped(message string) verdict { return verdict{StatusSkipped, message} }

// failures joins what is wrong, or passes.
func failures(wrong []string) verdict {
	if len(wrong) == 0 {
		return passed("")
	}
	return failed(strings.Join(wrong, "; "))
}

// PlanTests lists the standard tests and the recipe's.
func PlanTests(r *Recipe, in TestInput) *TestPlan {
	in.Patience = max(in.Patience, 1)
	if in.OutputLimit == 0 {
		in.OutputLimit = 8 << 10
	}
	plan := &TestPlan{input: in}
	skip := []string{}
	if r.StandardTests != nil {
		skip = r.StandardTests.Skip
	}
	for _, t := range standardTests(r, in) {
		if !slices.Contains(skip, t.name) {
			plan.tests = append(plan.tests, t)
		}
	}
	for i, t := range r.Tests {
		planned := t.plan()
		planned.timeout = t.Timeout
		if planned.name = t.Name; t.Name == "" {
			planned.name = fmt.Sprintf("tests[%d]: %s", i, t.title())
		}
		plan.tests = append(plan.tests, planned)
	}
	return plan
}

// Names are the tests' names, in order.
func (p *TestPlan) Names() []string {
	names := make([]string, len(p.tests))
	for i, t := range p.tests {
		names[i] = t.name
	}
	return names
}

// Timeout is how long the scripts can take at most, all together.
func (p *TestPlan) Timeout() time.Duration {
	var total time.Duration
	for _, t := range p.tests {
		total += t.timeout.Std()*time.Duration(p.input.Patience) + 10*time.Second
	}
	return total
}

// Scripts are POSIX shell scripts that carry out the tests, at most perScript
// of them each (0: all in one, which saves round trips on a slow machine).
// They need root, coreutils and systemd, change nothing, and always exit 0.
func (p *TestPlan) Scripts(perScript int) []string {
	if perScript <= 0 {
		perScript = max(len(p.tests), 1)
	}
	var scripts []string
	for start := 0; start < len(p.tests); start += perScript {
		scripts = append(scripts, p.script(start, min(start+perScript, len(p.tests))))
	}
	return scripts
}

const scriptHead = `#!/bin/sh
LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH
d=$(mktemp -d) || exit 125
trap 'rm -rf "$d"' EXIT
run() {
  s=$(date +%%s%%N)
  timeout -k 5 "$2" /bin/sh "$d/test" >"$d/out" 2>"$d/err" </dev/null
  c=$?
  e=$(date +%%s%%N)
  printf '%s %%s %%s %%s .%%s .%%s\n' "$1" "$c" "$(( (e - s) / 1000000 ))" \
    "$(head -c %d "$d/out" | base64 -w0)" "$(head -c %d "$d/err" | base64 -w0)"
}
`

func (p *TestPlan) script(from, to int) string {
	var b strings.Builder
	fmt.Fprintf(&b, scriptHead, p.marker(), p.input.OutputLimit, p.input.OutputLimit)
	for i := from; i < to; i++ {
		t := p.tests[i]
		end := "END_OF_TEST"
		for strings.Contains(t.script, end) {
			end += "_"
		}
		seconds := max(int(t.timeout.Std().Seconds())*p.input.Patience, 1)
		fmt.Fprintf(&b, "cat >\"$d/test\" <<'%s'\n%s\n%s\nrun %d %d\n", end, strings.TrimSuffix(t.script, "\n"), end, i, seconds)
	}
	return b.String()
}

// marker begins each line of the report. The nonce is cut down to harmless
// characters, because it becomes part of a shell script.
func (p *TestPlan) marker() string {
	clean := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return -1
	}, p.input.Nonce)
	return "HALLMARK-TEST-" + clean
}
