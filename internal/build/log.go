package build

import (
	"errors"
	"net/url"
	"os"
	"strings"
)

// tailBytes is how much of a step's output its error carries.
const tailBytes = 2000

// maxLine is where a line without an end is cut into events.
const maxLine = 8 << 10

// stepLog takes a step's output: masked, it goes to a file as it is, to events
// line by line, and its end is kept.
type stepLog struct {
	path string
	file *os.File
	mask *masker
	line func(string)

	partial []byte
	last    []byte
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func (l *stepLog) Write(p []byte) (int, error) { return l.mask.Write(p) }

// plain takes output that is masked already; the masker calls it under its lock.
func (l *stepLog) plain(p []byte) (int, error) {
	l.last = append(l.last, p...)
	if extra := len(l.last) - tailBytes; extra > 0 {
		l.last = append([]byte(nil), l.last[extra:]...)
	}
	l.partial = append(l.partial, p...)
	for {
		// Progress meters end their lines with a carriage return.
		end := strings.IndexAny(string(l.partial), "\r\n")
		if end < 0 && len(l.partial) > maxLine {
			end = maxLine
		}
		if end < 0 {
			break
		}
		l.say(string(l.partial[:end]))
		l.partial = l.partial[min(end+1, len(l.partial)):]
	}
	return l.file.Write(p)
}

func (l *stepLog) say(line string) {
	if line = strings.TrimSpace(line); line != "" {
		l.line(line)
	}
}

// Close writes what was held back and flushes the file.
func (l *stepLog) Close() error {
	err := l.mask.Close()
	l.say(string(l.partial))
	l.partial = nil
	return errors.Join(err, l.file.Sync(), l.file.Close())
}

func (l *stepLog) tail() string { return string(l.last) }

// hidden is what no log may show: the secrets, and a password in the proxy's URL.
func (r *runner) hidden() []Secret {
	all := append([]Secret(nil), r.plan.Secrets...)
	for _, text := range []string{r.plan.Proxy, r.plan.AptMirror} {
		if u, err := url.Parse(text); err == nil && u.User != nil {
			if password, ok := u.User.Password(); ok && password != "" {
				all = append(all, Secret{Name: "proxy", Value: []byte(password)})
			}
		}
	}
	return all
}

func (r *runner) mask(s string) string { return maskString(s, r.hidden()) }
