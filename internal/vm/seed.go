package vm

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime/multipart"
	"net/mail"
	"net/netip"
	"net/textproto"
	"os"
	"regexp"
	"strings"

	"github.com/kdomanski/iso9660"
	"golang.org/x/crypto/ssh"
)

// Seed is what a machine learns about itself on its first boot, through
// cloud-init's NoCloud datasource (docs.cloud-init.io, "NoCloud").
type Seed struct {
	// InstanceID: cloud-init takes a new one for a new machine.
	InstanceID string
	Hostname   string
	// AdminUser gets sudo. Empty: the image's own users only.
	AdminUser    string
	SSHKeys      []string // one line each, as in authorized_keys
	PasswordHash string   // crypt(5); empty: no password
	// CustomData reaches cloud-init as it is: a script, a cloud-config, MIME.
	CustomData []byte
	Network    *SeedNetwork
}

// SeedNetwork is a static address for the interface with the given MAC.
type SeedNetwork struct {
	MAC     string
	Address netip.Prefix
	Gateway netip.Addr
	DNS     []netip.Addr
}

// maxCustomData is Azure's limit on customData, in bytes before base64.
const maxCustomData = 65535

// volumeID is the label that NoCloud looks for.
const volumeID = "cidata"

var (
	hostnamePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	userPattern     = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	hashPattern     = regexp.MustCompile(`^\$[0-9a-z]+\$[!-9;-~]+$`) // crypt(5): printable, no colon
)

// Validate reports everything that is wrong, at once. Secrets are not repeated.
func (s Seed) Validate() error {
	var errs []error
	wrong := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	wrong(s.InstanceID != "", "instanceId: must not be empty")
	wrong(hostnamePattern.MatchString(s.Hostname), "hostname: %q: letters, digits and inner dashes, at most 63", s.Hostname)
	wrong(s.AdminUser == "" || userPattern.MatchString(s.AdminUser) && s.AdminUser != "root",
		"adminUser: %q: lower-case letters, digits, dashes and underscores, at most 32, and not root", s.AdminUser)
	wrong(s.AdminUser != "" || len(s.SSHKeys) == 0 && s.PasswordHash == "", "adminUser: needed for a key or a password")
	wrong(s.PasswordHash == "" || hashPattern.MatchString(s.PasswordHash), "passwordHash: is not a hash as crypt(5) makes")
	wrong(len(s.CustomData) <= maxCustomData, "customData: %d bytes are more than %d", len(s.CustomData), maxCustomData)
	for i, key := range s.SSHKeys {
		_, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(key))
		wrong(err == nil && len(rest) == 0 && !strings.ContainsAny(strings.TrimSpace(key), "\r\n"), "sshKeys[%d]: is not one line of authorized_keys", i)
	}
	if n := s.Network; n != nil {
		wrong(n.Address.IsValid() && n.Address.Contains(n.Gateway), "network: gateway %s is not within %s", n.Gateway, n.Address)
	}
	return errors.Join(errs...)
}

// Files returns the seed's files by name. The Seed must be valid.
func (s Seed) Files() (map[string][]byte, error) {
	files := map[string][]byte{}
	add := func(name, head string, value any) error {
		// JSON is YAML in which every string is quoted: an address such as
		// 52:54:00:12:34:04, plain, is a number to a YAML 1.1 reader.
		text, err := json.Marshal(value)
		files[name] = append([]byte(head), append(text, '\n')...)
		return err
	}
	err := add("meta-data", "", map[string]string{"instance-id": s.InstanceID, "local-hostname": s.Hostname})
	err = errors.Join(err, add("user-data", "#cloud-config\n", s.cloudConfig()))
	if s.Network != nil {
		err = errors.Join(err, add("network-config", "", s.Network.config()))
	}
	if err == nil && len(s.CustomData) > 0 {
		files["user-data"], err = combine(s.CustomData, files["user-data"])
	}
	return files, err
}

func (s Seed) cloudConfig() map[string]any {
	// Where customData is cloud-config too, this is merged into it: its users
	// stay, this one is added, and whatever else it says wins.
	config := map[string]any{"merge_how": "dict(no_replace,recurse_list)+list(append)+str()"}
	if s.AdminUser == "" {
		return config
	}
	user := map[string]any{
		"name":        s.AdminUser,
		"shell":       "/bin/bash",
		"groups":      []string{"adm", "sudo"},
		"sudo":        "ALL=(ALL) NOPASSWD:ALL",
		"lock_passwd": s.PasswordHash == "",
	}
	if len(s.SSHKeys) > 0 {
		user["ssh_authorized_keys"] = s.SSHKeys
	}
	if s.PasswordHash != "" {
		user["passwd"] = s.PasswordHash
		config["ssh_pwauth"] = true
	}
	config["users"] = []any{user}
	return config
}

func (n SeedNetwork) config() map[string]any {
	return map[string]any{
		"version": 2,
		"ethernets": map[string]any{"eth0": map[string]any{
			"match":       map[string]string{"macaddress": strings.ToLower(n.MAC)},
			"set-name":    "eth0",
			"dhcp4":       false,
			"accept-ra":   false, // nobody sends any, and waiting for one delays the boot
			"addresses":   []string{n.Address.String()},
			"routes":      []any{map[string]string{"to": "0.0.0.0/0", "via": n.Gateway.String()}},
			"nameservers": map[string]any{"addresses": strs(n.DNS)},
		}},
	}
}

func strs(addrs []netip.Addr) []string {
	out := make([]string, len(addrs))
	for i, a := range addrs {
		out[i] = a.String()
	}
	return out
}

// combine makes a MIME message of customData and our cloud-config, the form in
// which cloud-init takes several. The boundary is made of the content: the same
// seed has the same bytes, and no content can hold its own boundary.
func combine(customData, cloudConfig []byte) ([]byte, error) {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	if err := w.SetBoundary(fmt.Sprintf("%x", sha256.Sum256(customData))[:40]); err != nil {
		return nil, err
	}
	header, content := customPart(customData)
	if err := addPart(w, header, content); err != nil {
		return nil, err
	}
	if err := addPart(w, encoded("text/cloud-config"), wrapBase64(cloudConfig)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	head := "Content-Type: multipart/mixed; boundary=\"" + w.Boundary() + "\"\r\nMIME-Version: 1.0\r\n\r\n"
	return append([]byte(head), body.Bytes()...), nil
}

// customPart nests what is MIME already; anything else is left to cloud-init,
// which looks at the first bytes of a text/plain.
func customPart(data []byte) (textproto.MIMEHeader, []byte) {
	if m, err := mail.ReadMessage(bytes.NewReader(data)); err == nil && strings.HasPrefix(strings.ToLower(m.Header.Get("Content-Type")), "multipart/") {
		var body bytes.Buffer
		if _, err := body.ReadFrom(m.Body); err == nil {
			return textproto.MIMEHeader{"Content-Type": {m.Header.Get("Content-Type")}}, body.Bytes()
		}
	}
	kind := "text/plain; charset=utf-8"
	if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		kind = "application/gzip"
	}
	return encoded(kind), wrapBase64(data)
}

func encoded(kind string) textproto.MIMEHeader {
	return textproto.MIMEHeader{"Content-Type": {kind}, "Content-Transfer-Encoding": {"base64"}}
}

func addPart(w *multipart.Writer, header textproto.MIMEHeader, content []byte) error {
	part, err := w.CreatePart(header)
	if err != nil {
		return err
	}
	_, err = part.Write(content)
	return err
}

// wrapBase64 breaks lines as RFC 2045, 6.8 demands.
func wrapBase64(data []byte) []byte {
	text := base64.StdEncoding.EncodeToString(data)
	var out bytes.Buffer
	for len(text) > 76 {
		out.WriteString(text[:76] + "\r\n")
		text = text[76:]
	}
	out.WriteString(text)
	return out.Bytes()
}

// Write makes the ISO, 0600: it may carry a password's hash and customData.
func (s Seed) Write(file string) (err error) {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("the machine's seed: %w", err)
	}
	files, err := s.Files()
	if err != nil {
		return fmt.Errorf("making the machine's seed: %w", err)
	}
	iso, err := iso9660.NewWriter()
	if err != nil {
		return fmt.Errorf("making the machine's seed: %w", err)
	}
	defer func() { err = errors.Join(err, iso.Cleanup()) }()
	for name, content := range files {
		if err := iso.AddFile(bytes.NewReader(content), name); err != nil {
			return fmt.Errorf("making the machine's seed: %w", err)
		}
	}
	return writeISO(iso, file)
}

func writeISO(iso *iso9660.ImageWriter, file string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(iso.WriteTo(f, volumeID), f.Sync(), f.Close())
}
