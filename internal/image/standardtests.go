package image

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The standard tests' names.
const (
	testDefaultTarget   = "default-target-reached"
	testSSH             = "ssh-up"
	testFailedUnits     = "no-failed-units"
	testCloudInit       = "cloud-init-finished"
	testSecurityUpdates = "no-pending-security-updates"
	testTattoo          = "tattoo-valid"
	testCertificates    = "ca-certificates-trusted"
	testBootBudget      = "boot-budget"
)

// StandardTestNames are the tests that every image has to pass unless its
// recipe names them under standardTests.skip.
func StandardTestNames() []string {
	return []string{testDefaultTarget, testSSH, testFailedUnits, testCloudInit, testSecurityUpdates, testTattoo, testCertificates, testBootBudget}
}

// Time limits of the standard tests, before patience.
const (
	waitForBoot    = Duration(5 * time.Minute)
	waitForCloud   = Duration(5 * time.Minute)
	waitForUpdates = Duration(3 * time.Minute)
	waitForQuick   = Duration(time.Minute)
)

func standardTests(r *Recipe, in TestInput) []plannedTest {
	tests := []plannedTest{
		{name: testDefaultTarget, script: "systemctl is-system-running --wait >/dev/null 2>&1\n" + bootScript, timeout: waitForBoot, judge: judgeDefaultTarget},
		{name: testSSH, script: bootScript, timeout: waitForQuick, judge: judgeSSH},
		{name: testFailedUnits, script: "systemctl list-units --state=failed --no-legend --plain --no-pager", timeout: waitForQuick, judge: failedUnitsJudge(r)},
		{name: testCloudInit, script: cloudInitScript, timeout: waitForCloud, judge: judgeCloudInit},
		{name: testSecurityUpdates, script: updatesScript(r), timeout: waitForUpdates, judge: judgeUpdates},
		{name: testTattoo, script: tattooScript, timeout: waitForQuick, judge: tattooJudge(in)},
	}
	if bodies := certificateNames(r); len(bodies) > 0 {
		tests = append(tests, plannedTest{name: testCertificates, script: certificatesScript(r), timeout: waitForQuick, judge: judgeCertificates})
	}
	if len(r.BootBudgets) > 0 {
		tests = append(tests, plannedTest{name: testBootBudget, script: bootScript, timeout: waitForQuick, judge: budgetJudge(r, in)})
	}
	for i := range tests {
		tests[i].kind = "standard"
	}
	return tests
}

// bootScript prints what systemd knows of the boot, as prefix.Property=value.
const bootScript = `systemctl show -p FirmwareTimestampMonotonic -p LoaderTimestampMonotonic -p SystemState | sed 's/^/manager./'
systemctl show default.target -p Id -p ActiveState -p ActiveEnterTimestampMonotonic | sed 's/^/target./'
for u in ssh.service sshd.service ssh.socket sshd.socket; do
  systemctl show "$u" -p ActiveState -p ActiveEnterTimestampMonotonic | sed "s/^/$u./"
done
`

var sshUnits = []string{"ssh.service", "sshd.service", "ssh.socket", "sshd.socket"}

func judgeDefaultTarget(o observation) verdict {
	facts := pairs(o.stdout)
	target, state := facts["target.Id"], facts["target.ActiveState"]
	switch {
	case target == "":
		return failed("systemd did not answer: " + firstLine(o.stderr))
	case state != "active":
		return failed(fmt.Sprintf("%s is %s (system state %s)", target, state, facts["manager.SystemState"]))
	}
	return passed(fmt.Sprintf("%s after %s", target, bootTimes(o.stdout).DefaultTarget))
}

func judgeSSH(o observation) verdict {
	facts := pairs(o.stdout)
	for _, unit := range sshUnits {
		if facts[unit+".ActiveState"] == "active" {
			return passed(unit + " is active")
		}
	}
	return failed("none of " + strings.Join(sshUnits, ", ") + " is active")
}

// bootTimes adds the firmware's share, where it is known, to systemd's clock,
// which starts with the kernel.
func bootTimes(output string) BootTimes {
	facts := pairs(output)
	before := max(microseconds(facts["manager.FirmwareTimestampMonotonic"]), microseconds(facts["manager.LoaderTimestampMonotonic"]))
	var times BootTimes
	if t := microseconds(facts["target.ActiveEnterTimestampMonotonic"]); t > 0 {
		times.DefaultTarget = Duration((before + t).Round(time.Millisecond))
	}
	for _, unit := range sshUnits {
		if t := microseconds(facts[unit+".ActiveEnterTimestampMonotonic"]); t > 0 && facts[unit+".ActiveState"] == "active" {
			times.SSH = Duration((before + t).Round(time.Millisecond))
			break
		}
	}
	return times
}

// microseconds reads a systemd timestamp; anything over a week is not one.
func microseconds(text string) time.Duration {
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || n > 7*24*3600*1e6 {
		return 0
	}
	return time.Duration(n) * time.Microsecond
}

func failedUnitsJudge(r *Recipe) func(observation) verdict {
	var allowed []string
	if r.StandardTests != nil {
		allowed = r.StandardTests.AllowedFailedUnits
	}
	return func(o observation) verdict {
		if o.exitCode != 0 {
			return failed(fmt.Sprintf("systemctl ended with exit code %d: %s", o.exitCode, firstLine(o.stderr)))
		}
		var units []string
		for line := range strings.Lines(o.stdout) {
			if fields := strings.Fields(line); len(fields) > 0 && !slices.Contains(allowed, fields[0]) {
				units = append(units, fields[0])
			}
		}
		if len(units) > 0 {
			return failed("failed: " + strings.Join(units, ", ") + ": see journalctl -u " + units[0] + " in the machine")
		}
		return passed("")
	}
}

const cloudInitScript = `command -v cloud-init >/dev/null || { echo absent; exit 0; }
cloud-init status --wait --long`

func judgeCloudInit(o observation) verdict {
	if strings.TrimSpace(o.stdout) == "absent" {
		return skipped("the image has no cloud-init")
	}
	for line := range strings.Lines(o.stdout) {
		status, ok := strings.CutPrefix(strings.TrimSpace(line), "status:")
		if !ok {
			continue
		}
		switch status = strings.TrimSpace(status); status {
		case "done", "disabled":
			return passed(status)
		default:
			return failed("cloud-init's status is " + status + ": " + oneLine(o.stdout))
		}
	}
	return failed("cloud-init did not say how it went: " + firstLine(o.stderr))
}

// updatesScript simulates an upgrade with fresh package lists of its own, so
// that the image is left as it is. A refresh that fails is a failure: no news
// is not good news.
func updatesScript(r *Recipe) string {
	var b strings.Builder
	env := r.commonEnvironment()
	for _, name := range sortedKeys(env) {
		b.WriteString("export " + name + "=" + literal(env[name]) + "\n")
	}
	mirror := "cat"
	if r.AptMirror != "" {
		mirror = mirrorCommand(r.AptMirror)
	}
	b.WriteString(`if command -v apt-get >/dev/null; then
  t=$(mktemp -d) && chmod 0755 "$t" && mkdir -p "$t/lists/partial" "$t/parts" "$t/cache" || exit 99
  trap 'rm -rf "$t"' EXIT
  for f in /etc/apt/sources.list.d/*; do test -f "$f" && ` + mirror + ` "$f" >"$t/parts/${f##*/}"; done
  : >"$t/list"; test -f /etc/apt/sources.list && ` + mirror + ` /etc/apt/sources.list >"$t/list"
  apt() { apt-get -o Dir::State::lists="$t/lists" -o Dir::Etc::sourcelist="$t/list" -o Dir::Etc::sourceparts="$t/parts" -o Dir::Cache="$t/cache" -o APT::Sandbox::User=root "$@"; }
  apt -q update -o APT::Update::Error-Mode=any >&2 || exit 98
  apt -s -o Debug::NoLocking=1 dist-upgrade | grep '^Inst' || true
elif command -v dnf >/dev/null; then
  dnf -q updateinfo list --security --updates || exit 98
else
  echo unknown
fi`)
	return b.String()
}

func judgeUpdates(o observation) verdict {
	output := strings.TrimSpace(o.stdout)
	switch {
	case o.exitCode == 98:
		return failed("the package lists could not be refreshed, so nothing is known: " + lastLine(o.stderr))
	case o.exitCode != 0:
		return failed(fmt.Sprintf("the check ended with exit code %d: %s", o.exitCode, lastLine(o.stderr)))
	case output == "unknown":
		return skipped("neither apt nor dnf is in the image")
	}
	var pending []string
	for line := range strings.Lines(output) {
		if name := pendingSecurityUpdate(strings.TrimSpace(line)); name != "" {
			pending = append(pending, name)
		}
	}
	if len(pending) > 0 {
		return failed(fmt.Sprintf("%d pending: %s: upgrade all packages in a step of the recipe", len(pending), strings.Join(pending[:min(len(pending), 10)], ", ")))
	}
	return passed("")
}

// pendingSecurityUpdate is the package that a line of apt's simulation or of
// dnf's list names, if it is a security update.
func pendingSecurityUpdate(line string) string {
	fields := strings.Fields(line)
	if len(fields) >= 2 && fields[0] == "Inst" {
		if strings.Contains(line, "-Security:") || strings.Contains(line, "-security ") || strings.Contains(line, "-security,") {
			return fields[1]
		}
		return ""
	}
	if len(fields) == 3 && strings.Contains(fields[1], "Sec") {
		return fields[2]
	}
	return ""
}

const tattooScript = `echo "tattoo=$(base64 -w0 ` + TattooPath + `)"
if test -e ` + TattooSignaturePath + `; then echo "signature=$(base64 -w0 ` + TattooSignaturePath + `)"; fi
stat -c 'mode=%a owner=%U' ` + TattooPath

func tattooJudge(in TestInput) func(observation) verdict {
	return func(o observation) verdict {
		facts := pairs(o.stdout)
		tattoo, err := base64.StdEncoding.DecodeString(facts["tattoo"])
		if err != nil || len(tattoo) == 0 {
			return failed("there is no " + TattooPath + " in the image: " + firstLine(o.stderr))
		}
		if _, err := ParseTattoo(tattoo); err != nil {
			return failed(err.Error())
		}
		signature, _ := base64.StdEncoding.DecodeString(facts["signature"])
		switch {
		case in.Tattoo != nil && string(tattoo) != string(in.Tattoo):
			return failed("the tattoo is not the one that this run wrote")
		case in.Signature != nil && string(signature) != string(in.Signature):
			return failed("the tattoo's signature is not the one that this run wrote")
		}
		return passed("")
	}
}

// certificateNames are the roots whose PEM text is known.
func certificateNames(r *Recipe) []string {
	var names []string
	for _, ca := range r.CACertificates {
		if len(certificateBodies(ca.PEM)) > 0 {
			names = append(names, ca.Name)
		}
	}
	return names
}

func certificatesScript(r *Recipe) string {
	var b strings.Builder
	b.WriteString("bundle=/etc/ssl/certs/ca-certificates.crt; test -f \"$bundle\" || bundle=/etc/pki/tls/certs/ca-bundle.crt\ntest -f \"$bundle\" || { echo 'no-bundle='; exit 0; }\n")
	for _, ca := range r.CACertificates {
		for _, body := range certificateBodies(ca.PEM) {
			fmt.Fprintf(&b, "tr -d '\\n' <\"$bundle\" | grep -qF %s || echo %s\n", literal(body), literal("missing."+ca.Name+"="))
		}
	}
	return b.String()
}

func judgeCertificates(o observation) verdict {
	var wrong []string
	for key := range pairs(o.stdout) {
		if name, ok := strings.CutPrefix(key, "missing."); ok {
			wrong = append(wrong, "the image does not trust "+name)
		} else {
			wrong = append(wrong, "the image has no bundle of CA certificates: install the package ca-certificates")
		}
	}
	slices.Sort(wrong)
	return failures(wrong)
}

func budgetJudge(r *Recipe, in TestInput) func(observation) verdict {
	return func(o observation) verdict {
		for _, budget := range r.BootBudgets {
			if budget.Accelerator == in.Accelerator {
				return budget.judge(bootTimes(o.stdout), in.BaseBoot)
			}
		}
		return skipped("there is no budget for the accelerator " + in.Accelerator)
	}
}

func (b BootBudget) judge(got BootTimes, base *BootTimes) verdict {
	var wrong []string
	over := func(what string, took, limit Duration) {
		switch {
		case limit == 0:
		case took == 0:
			wrong = append(wrong, what+" was not measured")
		case took > limit:
			wrong = append(wrong, fmt.Sprintf("%s after %s, allowed are %s under %s", what, took, limit, b.Accelerator))
		}
	}
	over("default target", got.DefaultTarget, b.DefaultTarget)
	over("SSH", got.SSH, b.SSH)
	if b.RelativeToBase > 0 {
		if base == nil || base.DefaultTarget == 0 {
			wrong = append(wrong, "how long the base image takes to boot is not known")
		} else {
			limit := Duration(float64(base.DefaultTarget) * b.RelativeToBase)
			over(fmt.Sprintf("default target (%g times the base image's %s)", b.RelativeToBase, base.DefaultTarget), got.DefaultTarget, limit)
		}
	}
	if len(wrong) > 0 {
		return failures(wrong)
	}
	return passed(fmt.Sprintf("default target after %s, SSH after %s under %s", got.DefaultTarget, got.SSH, b.Accelerator))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
