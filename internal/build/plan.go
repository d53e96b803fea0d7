package build

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/disk"
)

// DefaultCacheMaxAge is how long a step that may use the network is reused: a
// cached upgrade must not hide a security fix for longer.
const DefaultCacheMaxAge = 24 * time.Hour

// DefaultTimeout bounds a build that sets no limit; Image Builder's own default
// is the same four hours.
const DefaultTimeout = 4 * time.Hour

// Plan is everything a build needs, resolved: nothing in it is fetched or looked
// up any more.
type Plan struct {
	// ID names the recipe. A new run drops the failed states of earlier runs
	// with the same ID.
	ID           string
	Base         Base
	OSDiskSizeGB int // 0 keeps the base's size; otherwise the root is grown to it
	Steps        []Step
	Secrets      []Secret          // visible to Shell steps as /run/secrets/NAME
	Proxy        string            // an http URL; injected while building, never left behind, not part of cache keys
	NoProxy      string            // hosts that are reached directly
	AptMirror    string            // replaces the distribution's main archive while building, as Proxy does
	Variables    map[string]string // environment of each Shell step

	Timeout        time.Duration // of the whole build; 0 means DefaultTimeout
	CacheMaxAge    time.Duration // of steps that may use the network; 0 means DefaultCacheMaxAge
	NoCache        bool          // run every step
	ShellOnFailure bool          // call Builder.OnFailure while the failed state is kept
	EngineVersion  string        // part of every cache key
}

// Base is the image that a build starts from.
type Base struct {
	Path   string      // a standalone qcow2 or raw image; it must not change while layers stand on it
	Format disk.Format // QCOW2 or Raw
	Digest string      // of the file's bytes, "sha256:…"
	Size   int64       // of the file in bytes; 0 when it is not known
	// Foreign says that the image boots by its own boot loader: a step that
	// changes /boot must then run in a machine.
	Foreign bool
}

// Kind is what a step does.
type Kind string

const (
	Shell         Kind = "Shell"
	File          Kind = "File"
	CACertificate Kind = "CACertificate"
	Tattoo        Kind = "Tattoo"

	grow Kind = "grow" // enlarges the disk and its root; first when asked for
	seal Kind = "seal"
)

// Isolation is where a step runs.
type Isolation string

const (
	InContainer Isolation = "container" // also ""
	InVM        Isolation = "vm"
)

// Step is one change to the image.
type Step struct {
	Name string
	Kind Kind

	// Shell: a script as a file, or lines for `sh -e`; exactly one of the two.
	// SHA256, in hexadecimal, is checked when it is given, here and for File.
	Script []byte
	Inline []string

	// File: content, or a file on this host, and where it goes. Parents are made.
	Content []byte
	Source  string
	Dest    string      // absolute; a symbolic link at the very end is replaced
	Mode    fs.FileMode // permission bits; 0 means 0644
	Owner   string      // "user", "user:group", names or numbers; "" is root
	SHA256  string

	Certificates []byte // CACertificate: PEM, any number

	TattooText []byte // Tattoo: becomes /etc/hallmark/tattoo
	Signature  []byte // and /etc/hallmark/tattoo.sig

	Timeout        time.Duration // 0: only the build's
	ValidExitCodes []int         // none means 0
	Offline        bool          // no network at all; the result is reused at any age
	Isolation      Isolation
	Boot           bool              // boot the image's services first (Shell, container only)
	Env            map[string]string // beside the plan's variables, and over them
}

// Secret is a value that steps may read and nobody may see.
type Secret struct {
	Name  string
	Value []byte `json:"-"`
}

// UsesNetwork tells whether a step may reach other machines.
func (s Step) UsesNetwork() bool { return s.Kind == Shell && !s.Offline }

// command is how a person would recognise a step in an error.
func (s Step) command() string {
	switch {
	case s.Kind == Shell && len(s.Inline) > 0:
		return strings.Join(s.Inline, "; ")
	case s.Kind == Shell:
		return fmt.Sprintf("script of %d bytes (%s)", len(s.Script), firstLine(string(s.Script)))
	case s.Kind == File:
		return "write " + s.Dest
	case s.Kind == CACertificate:
		return "install CA certificates"
	case s.Kind == Tattoo:
		return "write /etc/hallmark/tattoo"
	}
	return string(s.Kind)
}

// firstLine is the first line of a script that says what it does.
func firstLine(script string) string {
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "set -") {
			return line
		}
	}
	return "empty"
}

var (
	nameShape     = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	variableShape = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Validate reports everything that is wrong with a plan, each with its path.
func (p Plan) Validate() error {
	var errs []error
	bad := func(at, format string, args ...any) {
		errs = append(errs, fmt.Errorf("plan.%s: %s", at, fmt.Sprintf(format, args...)))
	}
	if !disk.ValidDigest(p.Base.Digest) {
		bad("Base.Digest", "%q is not sha256: and 64 hexadecimal digits", p.Base.Digest)
	}
	if p.Base.Format != disk.QCOW2 && p.Base.Format != disk.Raw {
		bad("Base.Format", "%q is neither qcow2 nor raw", p.Base.Format)
	}
	if p.OSDiskSizeGB < 0 || p.OSDiskSizeGB > 4095 {
		bad("OSDiskSizeGB", "%d is outside 0 to 4095", p.OSDiskSizeGB)
	}
	validateEnv(bad, "Variables", p.Variables)
	for i, s := range p.Secrets {
		if !nameShape.MatchString(s.Name) {
			bad(fmt.Sprintf("Secrets[%d].Name", i), "%q is not a file name of letters, digits, dots, dashes", s.Name)
		}
		if len(s.Value) == 0 {
			bad(fmt.Sprintf("Secrets[%d].Value", i), "is empty")
		}
	}
	for i, s := range p.Steps {
		s.validate(func(at, format string, args ...any) { bad(fmt.Sprintf("Steps[%d].%s", i, at), format, args...) })
	}
	return errors.Join(errs...)
}

func (s Step) validate(bad func(at, format string, args ...any)) {
	switch s.Kind {
	case Shell:
		s.validateShell(bad)
	case File:
		s.validateFile(bad)
	case CACertificate:
		if _, err := parseCertificates(s.Certificates); err != nil {
			bad("Certificates", "%v", err)
		}
	case Tattoo:
		if len(s.TattooText) == 0 {
			bad("TattooText", "is empty")
		}
	default:
		bad("Kind", "%q is none of Shell, File, CACertificate, Tattoo", s.Kind)
	}
	if s.Isolation != "" && s.Isolation != InContainer && s.Isolation != InVM {
		bad("Isolation", "%q is neither container nor vm", s.Isolation)
	}
	if s.Boot && (s.Kind != Shell || s.Isolation == InVM) {
		bad("Boot", "is for Shell steps in a container")
	}
	validateEnv(bad, "Env", s.Env)
}

func (s Step) validateShell(bad func(at, format string, args ...any)) {
	if (len(s.Script) == 0) == (len(s.Inline) == 0) {
		bad("Script", "exactly one of Script and Inline is needed")
	}
	if s.SHA256 != "" && len(s.Script) > 0 && !sumMatches(s.Script, s.SHA256) {
		bad("SHA256", "the script's is %s, wanted %s", sum(s.Script), s.SHA256)
	}
}

func (s Step) validateFile(bad func(at, format string, args ...any)) {
	if !path.IsAbs(s.Dest) || path.Clean(s.Dest) != s.Dest || s.Dest == "/" || strings.ContainsRune(s.Dest, 0) {
		bad("Dest", "%q is not a clean absolute path of a file", s.Dest)
	}
	if s.Source != "" && len(s.Content) > 0 {
		bad("Source", "is given beside Content")
	}
	if s.Mode != s.Mode&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) {
		bad("Mode", "%v holds more than permissions", s.Mode)
	}
	if s.Source == "" && s.SHA256 != "" && !sumMatches(s.Content, s.SHA256) {
		bad("SHA256", "the content's is %s, wanted %s", sum(s.Content), s.SHA256)
	}
}

func validateEnv(bad func(at, format string, args ...any), at string, env map[string]string) {
	for name, value := range env {
		if !variableShape.MatchString(name) {
			bad(at, "%q is not a variable's name", name)
		}
		if strings.ContainsRune(value, 0) {
			bad(at+"."+name, "holds a NUL")
		}
	}
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func sumMatches(b []byte, want string) bool { return strings.EqualFold(sum(b), want) }
