package build

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// policyFile keeps packages from starting their services while they are
// installed (Debian's invoke-rc.d(8)).
const policyFile = "/usr/sbin/policy-rc.d"

var policyText = []byte("#!/bin/sh\nexit 101\n")

// prepare puts into a root what a step needs and an image must not keep; restore
// takes it away. A build that dies in between throws the whole layer away.
func prepare(t tree, p Plan, boot bool) (restore func() error, err error) {
	var undo []func() error
	restore = func() error {
		var errs []error
		for i := len(undo) - 1; i >= 0; i-- {
			errs = append(errs, undo[i]())
		}
		return errors.Join(errs...)
	}
	steps := []func() (func() error, error){
		func() (func() error, error) { return forgetResolvConf(t) },
		func() (func() error, error) { return useMirror(t, p.AptMirror) },
	}
	if !boot {
		steps = append(steps, func() (func() error, error) { return forbidServices(t) })
	}
	for _, step := range steps {
		back, err := step()
		if err != nil {
			return nil, errors.Join(err, restore())
		}
		undo = append(undo, back)
	}
	return restore, nil
}

func forbidServices(t tree) (func() error, error) {
	if !t.exists("/usr/sbin") {
		return func() error { return nil }, nil
	}
	before, err := t.read(policyFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	had := err == nil
	if err := t.write(policyFile, policyText, 0o755, 0, 0); err != nil {
		return nil, diskFull(err)
	}
	return func() error {
		now, err := t.read(policyFile)
		switch {
		case err == nil && !bytes.Equal(now, policyText): // the step brought its own
			return nil
		case had:
			return t.write(policyFile, before, 0o755, 0, 0)
		}
		return t.remove(policyFile)
	}, nil
}

// forgetResolvConf removes the empty file that the container makes to put the
// build's resolv.conf on.
func forgetResolvConf(t tree) (func() error, error) {
	const name = "/etc/resolv.conf"
	existed := false
	if dir, err := t.dir("/etc"); err == nil {
		_, err = dir.Lstat("resolv.conf")
		existed = err == nil
		dir.Close()
	}
	return func() error {
		if text, err := t.read(name); existed || err != nil || len(text) > 0 {
			return nil
		}
		return t.remove(name)
	}, nil
}

// archives are the main archives that an aptMirror stands in for.
var archives = regexp.MustCompile(`https?://(deb\.debian\.org/debian|ftp\.[a-z]+\.debian\.org/debian|archive\.ubuntu\.com/ubuntu)(/?)(\s|$)`)

// useMirror points apt's sources at the mirror. What the step leaves unchanged
// comes back byte for byte; where it changed a file, only the mirror's address
// is turned back.
func useMirror(t tree, mirror string) (func() error, error) {
	if mirror == "" {
		return func() error { return nil }, nil
	}
	mirror = strings.TrimSuffix(mirror, "/")
	originals, changed := map[string][]byte{}, map[string][]byte{}
	names, err := sourceFiles(t)
	if err != nil {
		return nil, err
	}
	archive := ""
	for _, name := range names {
		text, err := t.read(name)
		if err != nil {
			return nil, err
		}
		if m := archives.FindSubmatch(text); m != nil && archive == "" {
			archive = "http://" + string(m[1])
		}
		if next := archives.ReplaceAll(text, []byte(strings.ReplaceAll(mirror, "$", "$$")+"$2$3")); !bytes.Equal(next, text) {
			originals[name], changed[name] = text, next
			if err := t.write(name, next, 0o644, 0, 0); err != nil {
				return nil, diskFull(err)
			}
		}
	}
	return func() error { return dropMirror(t, mirror, archive, originals, changed) }, nil
}

func sourceFiles(t tree) ([]string, error) {
	var names []string
	for _, pattern := range []string{"/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list", "/etc/apt/sources.list.d/*.sources"} {
		found, err := t.glob(pattern)
		if err != nil {
			return nil, err
		}
		names = append(names, found...)
	}
	return names, nil
}

func dropMirror(t tree, mirror, archive string, originals, changed map[string][]byte) error {
	names, err := sourceFiles(t)
	if err != nil || archive == "" {
		return err
	}
	for _, name := range names {
		now, err := t.read(name)
		if err != nil {
			return err
		}
		back := bytes.ReplaceAll(now, []byte(mirror), []byte(archive))
		if bytes.Equal(now, changed[name]) {
			back = originals[name]
		}
		if bytes.Equal(back, now) {
			continue
		}
		if err := t.write(path.Clean(name), back, 0o644, 0, 0); err != nil {
			return err
		}
	}
	return nil
}
