package image

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	debversion "github.com/knqyf263/go-deb-version"
)

func (t Test) plan() plannedTest {
	switch {
	case t.Command != nil:
		return plannedTest{kind: "command", script: t.Command.Run, judge: t.Command.judge}
	case t.File != nil:
		return plannedTest{kind: "file", script: t.File.script(), judge: t.File.judge}
	case t.Package != nil:
		return plannedTest{kind: "package", script: t.Package.script(), judge: t.Package.judge}
	case t.Service != nil:
		return plannedTest{kind: "service", script: "systemctl show -p LoadState -p ActiveState -p UnitFileState -- " + literal(t.Service.unit()), judge: t.Service.judge}
	case t.Port != nil:
		return plannedTest{kind: "port", script: t.Port.script(), judge: t.Port.judge}
	case t.Sysctl != nil:
		return plannedTest{kind: "sysctl", script: "cat " + literal(t.Sysctl.path()), judge: t.Sysctl.judge}
	case t.User != nil:
		return plannedTest{kind: "user", script: t.User.script(), judge: t.User.judge}
	}
	return plannedTest{kind: "none", script: "exit 1", judge: func(observation) verdict { return failed("the test says nothing") }}
}

func (t Test) title() string {
	switch {
	case t.Command != nil:
		return "command " + firstLine(t.Command.Run)
	case t.File != nil:
		return "file " + t.File.Path
	case t.Package != nil:
		return "package " + t.Package.Name
	case t.Service != nil:
		return "service " + t.Service.Name
	case t.Port != nil:
		return fmt.Sprintf("port %d/%s", t.Port.Number, t.Port.Protocol)
	case t.Sysctl != nil:
		return "sysctl " + t.Sysctl.Key
	case t.User != nil:
		return "user " + t.User.Name
	}
	return "nothing"
}

func (t *CommandTest) judge(o observation) verdict {
	var wrong []string
	if o.exitCode != t.ExitCode {
		text := fmt.Sprintf("exit code %d, expected %d", o.exitCode, t.ExitCode)
		if end := lastLine(o.stderr); end != "" {
			text += ": " + end
		}
		wrong = append(wrong, text)
	}
	wrong = append(wrong, t.Stdout.wrong("stdout", o.stdout)...)
	return failures(append(wrong, t.Stderr.wrong("stderr", o.stderr)...))
}

func (m *OutputMatch) wrong(stream, got string) []string {
	if m == nil {
		return nil
	}
	var wrong []string
	if m.Equals != nil && strings.TrimSpace(got) != strings.TrimSpace(*m.Equals) {
		wrong = append(wrong, fmt.Sprintf("%s is %s, expected %s", stream, quote(strings.TrimSpace(got)), quote(strings.TrimSpace(*m.Equals))))
	}
	for _, text := range m.Contains {
		if !strings.Contains(got, text) {
			wrong = append(wrong, fmt.Sprintf("%s does not contain %s", stream, quote(text)))
		}
	}
	for _, text := range m.NotContains {
		if strings.Contains(got, text) {
			wrong = append(wrong, fmt.Sprintf("%s contains %s", stream, quote(text)))
		}
	}
	if m.Matches != "" {
		if pattern, err := regexp.Compile("(?m)" + m.Matches); err != nil || !pattern.MatchString(got) {
			wrong = append(wrong, fmt.Sprintf("%s does not match %s", stream, quote(m.Matches)))
		}
	}
	return wrong
}

func (t *FileTest) script() string {
	file := literal(t.Path)
	var b strings.Builder
	fmt.Fprintf(&b, "test -e %s || test -L %s || exit 0\necho exists=yes\nstat -L -c 'mode=%%a\nuser=%%U\ngroup=%%G' -- %s\n", file, file, file)
	if t.SHA256 != "" {
		fmt.Fprintf(&b, "echo \"sha256=$(sha256sum <%s)\"\n", file)
	}
	for i, text := range slices.Concat(t.Contains, t.NotContains) {
		fmt.Fprintf(&b, "grep -qF -e %s -- %s && echo contains.%d=yes\n", literal(text), file, i)
	}
	b.WriteString("exit 0\n")
	return b.String()
}

func (t *FileTest) judge(o observation) verdict {
	facts := pairs(o.stdout)
	exists := facts["exists"] == "yes"
	switch {
	case exists != *t.Exists && exists:
		return failed(t.Path + " exists")
	case exists != *t.Exists:
		return failed(t.Path + " does not exist")
	case !exists:
		return passed("")
	}
	var wrong []string
	want := func(what, got, wanted string) {
		if wanted != "" && got != wanted {
			wrong = append(wrong, fmt.Sprintf("%s is %s, expected %s", what, got, wanted))
		}
	}
	want("mode", octal(facts["mode"]), octal(t.Mode))
	user, group, _ := strings.Cut(t.Owner, ":")
	want("owner", facts["user"], user)
	want("group", facts["group"], group)
	digest, _, _ := strings.Cut(facts["sha256"], " ")
	want("sha256", digest, strings.ToLower(t.SHA256))
	for i, text := range slices.Concat(t.Contains, t.NotContains) {
		found, wanted := facts[fmt.Sprintf("contains.%d", i)] == "yes", i < len(t.Contains)
		if found != wanted {
			wrong = append(wrong, map[bool]string{true: "it does not contain ", false: "it contains "}[wanted]+quote(text))
		}
	}
	return failures(wrong)
}

// octal makes 644 and 0644 the same.
func octal(mode string) string {
	if mode == "" {
		return ""
	}
	digits := strings.TrimLeft(mode, "0")
	return strings.Repeat("0", max(4-len(digits), 0)) + digits
}

type constraint struct{ op, version string }

var constraintPattern = regexp.MustCompile(`^\s*(>=|<=|=|>|<)?\s*([A-Za-z0-9][A-Za-z0-9.+~:_-]*)\s*$`)

// parseConstraint reads ">= 1.22"; an empty text asks for nothing.
func parseConstraint(text string) (constraint, error) {
	if text == "" {
		return constraint{}, nil
	}
	m := constraintPattern.FindStringSubmatch(text)
	if m == nil {
		return constraint{}, fmt.Errorf("%s is not a version or a comparison with one", quote(text))
	}
	if m[1] == "" {
		m[1] = "="
	}
	if _, err := debversion.NewVersion(m[2]); err != nil {
		return constraint{}, fmt.Errorf("%s is not a package version: %w", quote(m[2]), err)
	}
	return constraint{m[1], m[2]}, nil
}

// holds compares by Debian's rules, which agree with RPM's on everything but
// exotic version numbers.
func (c constraint) holds(got string) (bool, error) {
	a, err := debversion.NewVersion(got)
	if err != nil {
		return false, fmt.Errorf("the installed version %s cannot be compared: %w", quote(got), err)
	}
	b, err := debversion.NewVersion(c.version)
	if err != nil {
		return false, err
	}
	order := a.Compare(b)
	switch c.op {
	case ">=":
		return order >= 0, nil
	case "<=":
		return order <= 0, nil
	case ">":
		return order > 0, nil
	case "<":
		return order < 0, nil
	}
	return order == 0, nil
}

func (t *PackageTest) script() string {
	name := literal(t.Name)
	return "if command -v dpkg-query >/dev/null; then\n  dpkg-query -W -f='status=${db:Status-Status}\\nversion=${Version}\\n' -- " + name + " 2>/dev/null\n" +
		"elif command -v rpm >/dev/null; then\n  rpm -q --qf 'status=installed\\nversion=%{EVR}\\n' -- " + name + " | grep =\nelse\n  echo status=unknown\nfi\nexit 0\n"
}

func (t *PackageTest) judge(o observation) verdict {
	facts := pairs(o.stdout)
	if facts["status"] == "unknown" {
		return failed("neither dpkg nor rpm is in the image")
	}
	installed := facts["status"] == "installed"
	switch {
	case installed != *t.Installed && installed:
		return failed(t.Name + " " + facts["version"] + " is installed")
	case installed != *t.Installed:
		return failed(t.Name + " is not installed")
	case !installed || t.Version == "":
		return passed(facts["version"])
	}
	wanted, err := parseConstraint(t.Version)
	if err != nil {
		return failed(err.Error())
	}
	ok, err := wanted.holds(facts["version"])
	switch {
	case err != nil:
		return failed(err.Error())
	case !ok:
		return failed(fmt.Sprintf("%s has version %s, expected %s", t.Name, facts["version"], t.Version))
	}
	return passed(facts["version"])
}

func (t *ServiceTest) unit() string {
	if strings.Contains(t.Name, ".") {
		return t.Name
	}
	return t.Name + ".service"
}

func (t *ServiceTest) judge(o observation) verdict {
	facts := pairs(o.stdout)
	enabled := slices.Contains([]string{"enabled", "enabled-runtime", "alias", "static", "generated"}, facts["UnitFileState"])
	running := facts["ActiveState"] == "active"
	var wrong []string
	if t.Enabled != nil && enabled != *t.Enabled {
		wrong = append(wrong, fmt.Sprintf("%s is %s, expected it to be %s", t.unit(), absent(facts["UnitFileState"]), either(*t.Enabled, "enabled", "disabled")))
	}
	if t.Running != nil && running != *t.Running {
		wrong = append(wrong, fmt.Sprintf("%s is %s, expected it to be %s", t.unit(), absent(facts["ActiveState"]), either(*t.Running, "running", "stopped")))
	}
	if len(wrong) > 0 && facts["LoadState"] == "not-found" {
		return failed("there is no unit " + t.unit())
	}
	return failures(wrong)
}

func absent(s string) string {
	if s == "" {
		return "not known to systemd"
	}
	return s
}

func either(b bool, yes, no string) string {
	if b {
		return yes
	}
	return no
}

// script lets the kernel's own table speak: it is always there, unlike ss.
func (t *PortTest) script() string {
	state, tables := "0A", "/proc/net/tcp /proc/net/tcp6"
	if t.Protocol == "udp" {
		state, tables = "07", "/proc/net/udp /proc/net/udp6"
	}
	return fmt.Sprintf("cat %s 2>/dev/null | grep -E '^ *[0-9]+: [0-9A-F]+:%04X [0-9A-F]+:[0-9A-F]+ %s ' | head -n 20\nexit 0\n", tables, t.Number, state)
}

func (t *PortTest) judge(o observation) verdict {
	listening := strings.TrimSpace(o.stdout) != ""
	if listening != *t.Listening {
		return failed(fmt.Sprintf("port %d/%s is %s", t.Number, t.Protocol, either(listening, "listening", "not listening")))
	}
	return passed("")
}

func (t *SysctlTest) path() string {
	return "/proc/sys/" + strings.ReplaceAll(t.Key, ".", "/")
}

func (t *SysctlTest) judge(o observation) verdict {
	if o.exitCode != 0 {
		return failed("there is no such setting: " + firstLine(o.stderr))
	}
	if got := oneLine(o.stdout); got != oneLine(t.Value) {
		return failed(fmt.Sprintf("%s is %s, expected %s", t.Key, quote(got), quote(t.Value)))
	}
	return passed("")
}

func (t *UserTest) script() string {
	name := literal(t.Name)
	return "getent passwd " + name + " | sed 's/^/passwd=/'\necho \"groups=$(id -Gn -- " + name + " 2>/dev/null)\"\n"
}

func (t *UserTest) judge(o observation) verdict {
	facts := pairs(o.stdout)
	entry := strings.Split(facts["passwd"], ":")
	exists := len(entry) == 7
	switch {
	case exists != *t.Exists:
		return failed("user " + t.Name + either(exists, " exists", " does not exist"))
	case !exists:
		return passed("")
	}
	var wrong []string
	want := func(what, got, wanted string) {
		if wanted != "" && got != wanted {
			wrong = append(wrong, fmt.Sprintf("%s is %s, expected %s", what, quote(got), quote(wanted)))
		}
	}
	if t.UID != nil {
		want("uid", entry[2], strconv.Itoa(*t.UID))
	}
	want("home", entry[5], t.Home)
	want("shell", entry[6], t.Shell)
	groups := strings.Fields(facts["groups"])
	for _, group := range t.Groups {
		if !slices.Contains(groups, group) {
			wrong = append(wrong, "it is not in group "+group)
		}
	}
	return failures(wrong)
}
