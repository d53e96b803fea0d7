package image

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

func (c *checker) tests() {
	for i := range c.recipe.Tests {
		c.test(fmt.Sprintf("tests[%d]", i), &c.recipe.Tests[i])
	}
	if s := c.recipe.StandardTests; s != nil {
		for i, name := range s.Skip {
			c.enum(fmt.Sprintf("standardTests.skip[%d]", i), name, StandardTestNames())
		}
		for i, unit := range s.AllowedFailedUnits {
			c.pattern(fmt.Sprintf("standardTests.allowedFailedUnits[%d]", i), unit, unitPattern, "a systemd unit's name")
		}
	}
	for i, b := range c.recipe.BootBudgets {
		c.bootBudget(fmt.Sprintf("bootBudgets[%d]", i), b, c.recipe.BootBudgets[:i])
	}
}

func (c *checker) bootBudget(at string, b BootBudget, earlier []BootBudget) {
	c.required(at+".accelerator", b.Accelerator)
	c.enum(at+".accelerator", b.Accelerator, accelerators)
	if b.DefaultTarget == 0 && b.SSH == 0 && b.RelativeToBase == 0 {
		c.fail(at, "the budget has no limit", "add defaultTarget, ssh or relativeToBase")
	}
	if b.RelativeToBase != 0 && !(b.RelativeToBase >= 1 && b.RelativeToBase <= 100) { // also refuses .nan
		c.fail(at+".relativeToBase", "a factor between 1 and 100 is wanted", "1.5 allows half as long again as the base image")
	}
	if slices.ContainsFunc(earlier, func(e BootBudget) bool { return e.Accelerator == b.Accelerator }) {
		c.fail(at+".accelerator", "there is already a budget for "+b.Accelerator, "")
	}
}

func (c *checker) test(at string, t *Test) {
	kinds := 0
	for _, set := range []bool{t.Command != nil, t.File != nil, t.Package != nil, t.Service != nil, t.Port != nil, t.Sysctl != nil, t.User != nil} {
		if set {
			kinds++
		}
	}
	if kinds != 1 {
		c.fail(at, "a test is exactly one of command, file, package, service, port, sysctl and user", "")
	}
	if strings.ContainsAny(t.Name, "\n\x00") || len(t.Name) > 200 {
		c.fail(at+".name", "a test's name is one line of at most 200 characters", "")
	}
	if t.Command != nil {
		c.commandTest(at+".command", t.Command)
	}
	if t.File != nil {
		c.fileTest(at+".file", t.File)
	}
	if t.Package != nil {
		c.pattern(at+".package.name", t.Package.Name, packagePattern, "a package's name")
		if _, err := parseConstraint(t.Package.Version); err != nil {
			c.fail(at+".package.version", err.Error(), `an exact version, or such as ">= 1.22"`)
		}
	}
	if t.Service != nil {
		c.pattern(at+".service.name", t.Service.Name, unitPattern, "a systemd unit's name")
	}
	if t.Port != nil {
		c.between(at+".port.number", t.Port.Number, 1, 65535)
		c.enum(at+".port.protocol", t.Port.Protocol, protocols)
	}
	if t.Sysctl != nil {
		c.pattern(at+".sysctl.key", t.Sysctl.Key, sysctlPattern, "such as net.ipv4.ip_forward")
		c.required(at+".sysctl.value", t.Sysctl.Value)
	}
	if t.User != nil {
		c.pattern(at+".user.name", t.User.Name, userPattern, "an account's name")
	}
}

func (c *checker) commandTest(at string, t *CommandTest) {
	c.required(at+".run", t.Run)
	c.noNUL(at+".run", t.Run)
	c.between(at+".exitCode", t.ExitCode, 0, 255)
	for name, m := range map[string]*OutputMatch{"stdout": t.Stdout, "stderr": t.Stderr} {
		if m == nil || m.Matches == "" {
			continue
		}
		if _, err := regexp.Compile(m.Matches); err != nil {
			c.fail(at+"."+name+".matches", err.Error(), "Go's regular expressions (RE2)")
		}
	}
}

func (c *checker) fileTest(at string, t *FileTest) {
	c.noNUL(at+".path", t.Path)
	if !strings.HasPrefix(t.Path, "/") {
		c.fail(at+".path", quote(t.Path)+" is not an absolute path", "")
	}
	c.mode(at+".mode", t.Mode)
	c.owner(at+".owner", t.Owner)
	if t.SHA256 != "" {
		c.digest(at+".sha256", t.SHA256)
	}
	for i, text := range slices.Concat(t.Contains, t.NotContains) {
		if text == "" || strings.ContainsAny(text, "\n\x00") {
			c.fail(at, fmt.Sprintf("text %d that is looked for is empty or has more than one line", i+1), "look for one line, or use sha256")
		}
	}
	if !*t.Exists && (t.Mode != "" || t.Owner != "" || t.SHA256 != "" || len(t.Contains) > 0) {
		c.fail(at+".exists", "a file that shall not exist cannot have a mode, an owner or content", "")
	}
}
