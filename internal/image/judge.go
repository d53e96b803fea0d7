package image

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// TestReport is what became of a test plan.
type TestReport struct {
	Accelerator string       `json:"accelerator,omitempty"`
	Boot        BootTimes    `json:"boot"`
	Results     []TestResult `json:"results"`
}

// TestResult is one test's outcome, with the reason if it did not pass.
type TestResult struct {
	Name     string   `json:"name"`
	Kind     string   `json:"kind"` // standard, or the kind of the recipe's test
	Status   string   `json:"status"`
	Message  string   `json:"message,omitempty"`
	Duration Duration `json:"duration"`
	ExitCode int      `json:"exitCode"`
	Stdout   string   `json:"stdout,omitempty"`
	Stderr   string   `json:"stderr,omitempty"`
}

// Passed says that no test failed.
func (r TestReport) Passed() bool { return len(r.Failed()) == 0 }

// Failed are the results that interrupt a publication.
func (r TestReport) Failed() []TestResult {
	var out []TestResult
	for _, result := range r.Results {
		if result.Status == StatusFailed {
			out = append(out, result)
		}
	}
	return out
}

// Judge reads what the scripts printed, in any order and with anything in
// between, and judges every test. A test that was not reported has failed: a
// machine that dies half-way must not pass.
func (p *TestPlan) Judge(outputs ...string) TestReport {
	seen := map[int][]observation{}
	for _, output := range outputs {
		p.collect(output, seen)
	}
	report := TestReport{Accelerator: p.input.Accelerator}
	for i, t := range p.tests {
		report.Results = append(report.Results, t.result(seen[i], p.input))
		if t.kind == "standard" && t.name == testDefaultTarget && len(seen[i]) == 1 {
			report.Boot = bootTimes(seen[i][0].stdout)
		}
	}
	return report
}

func (t plannedTest) result(seen []observation, in TestInput) TestResult {
	result := TestResult{Name: t.name, Kind: t.kind, Status: StatusFailed}
	switch len(seen) {
	case 0:
		result.Message = "the machine did not report this test: the script was cut short, or its output was truncated on the way"
		return result
	case 1:
	default:
		result.Message = "the machine reported this test more than once, so neither report can be trusted"
		return result
	}
	o := seen[0]
	result.Duration, result.ExitCode = Duration(o.duration), o.exitCode
	result.Stdout, result.Stderr = printable(o.stdout), printable(o.stderr)
	limit := t.timeout.Std() * time.Duration(in.Patience)
	v := verdict{}
	switch {
	case (o.exitCode == 124 || o.exitCode == 137) && o.duration >= limit-time.Second:
		v = failed(fmt.Sprintf("it did not end within %s", limit))
	default:
		v = t.judge(o)
	}
	result.Status, result.Message = v.status, printable(v.message)
	if v.status == StatusFailed && o.cut {
		result.Message += fmt.Sprintf(" (only the first %d bytes of the output were looked at)", in.OutputLimit)
	}
	return result
}

// collect finds the report's lines. Whatever else is in the output is not ours.
func (p *TestPlan) collect(output string, into map[int][]observation) {
	prefix := p.marker() + " "
	for line := range strings.Lines(output) {
		rest, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), prefix)
		if !ok {
			continue
		}
		if id, o, ok := p.parseLine(strings.Split(rest, " ")); ok {
			into[id] = append(into[id], o)
		}
	}
}

func (p *TestPlan) parseLine(fields []string) (int, observation, bool) {
	if len(fields) != 5 {
		return 0, observation{}, false
	}
	id, err1 := strconv.Atoi(fields[0])
	code, err2 := strconv.ParseUint(fields[1], 10, 8)
	millis, err3 := strconv.ParseUint(fields[2], 10, 32)
	stdout, ok1 := decodeStream(fields[3])
	stderr, ok2 := decodeStream(fields[4])
	if err1 != nil || err2 != nil || err3 != nil || !ok1 || !ok2 || id < 0 || id >= len(p.tests) {
		return 0, observation{}, false
	}
	limit := p.input.OutputLimit
	return id, observation{
		exitCode: int(code), duration: time.Duration(millis) * time.Millisecond,
		stdout: stdout, stderr: stderr, cut: len(stdout) >= limit || len(stderr) >= limit,
	}, true
}

func decodeStream(field string) (string, bool) {
	encoded, ok := strings.CutPrefix(field, ".")
	if !ok {
		return "", false
	}
	data, err := base64.StdEncoding.DecodeString(encoded)
	return string(data), err == nil
}

// printable keeps a machine's output from reaching a terminal as anything but
// text.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < ' ' || (r >= 0x7f && r < 0xa0) || r == utf8.RuneError:
			return '\uFFFD'
		}
		return r
	}, s)
}

// pairs reads key=value lines.
func pairs(output string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(output) {
		if key, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "="); ok {
			if _, repeated := out[key]; !repeated {
				out[key] = value
			}
		}
	}
	return out
}
