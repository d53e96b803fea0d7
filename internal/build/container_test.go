package build

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestJobArguments(t *testing.T) {
	j := job{root: "/m/root", uidBase: 655360, namespace: "/run/netns/x", command: []string{"/run/hallmark/step"},
		env: map[string]string{"B": "2 $(x)", "A": "1"}, binds: []bind{{host: "/m/p", guest: "/run/p"}, {host: "/m/w", guest: "/run/w", writable: true}},
		cgroups: []string{"/sys/fs/cgroup/g"}}
	want := []string{"unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--", "/bin/sh", "-c", launch, "launch", "/sys/fs/cgroup/g", "--",
		"nsenter", "--net=/run/netns/x", "--", "/bin/sh", "-c", allowPorts, "ports",
		"systemd-nspawn", "--quiet", "--directory=/m/root", "--settings=no", "--register=no", "--keep-unit",
		"--private-users=655360:65536", "--private-users-ownership=map", "--hostname=localhost", "--timezone=off", "--resolv-conf=off", "--link-journal=no",
		"--console=pipe", "--drop-capability=" + dropped, "--as-pid2", "--bind-ro=/m/p:/run/p", "--bind=/m/w:/run/w", "--setenv=A=1", "--setenv=B=2 $(x)",
		"--", "/run/hallmark/step"}
	if diff := cmp.Diff(want, jobArgs(j)); diff != "" {
		t.Error(diff)
	}
}

func TestAJobWithoutANamespaceHasNoNetwork(t *testing.T) {
	for _, boot := range []bool{false, true} {
		args := jobArgs(job{root: "/r", boot: boot})
		if !slices.Contains(args, "--private-network") || slices.Contains(args, "nsenter") {
			t.Errorf("boot %v: %q", boot, args)
		}
		if slices.Contains(args, "--boot") != boot {
			t.Errorf("boot %v: %q", boot, args)
		}
	}
}

func TestProxyIsNeitherKeyNorFile(t *testing.T) {
	p := Plan{Proxy: "http://u:p%40ss@proxy:3128", NoProxy: "internal"}
	env := hostEnv(p)
	if env["https_proxy"] != p.Proxy || env["no_proxy"] != "internal" {
		t.Errorf("environment %v", env)
	}
	if conf := string(aptConf(p)); !strings.Contains(conf, `Acquire::http::Proxy "http://u:p%40ss@proxy:3128";`) {
		t.Errorf("apt.conf:\n%s", conf)
	}
	r := &runner{plan: p}
	if got := r.mask("proxy answered: p@ss, p%40ss"); strings.Contains(got, "p@ss") || strings.Contains(got, "p%40ss") {
		t.Errorf("the proxy's password is shown: %s", got)
	}
}

func TestKeysHideSecrets(t *testing.T) {
	s, plan := shell("x", "x"), Plan{Secrets: []Secret{{"a", []byte("value")}}}
	one, err := actionKey(plan, "p", s, "", []byte("key one"))
	if err != nil {
		t.Fatal(err)
	}
	two, err := actionKey(plan, "p", s, "", []byte("key two"))
	if err != nil {
		t.Fatal(err)
	}
	if one == two {
		t.Error("a cache key tells, without the data directory's key, which secret was used")
	}
}
