package attest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	intoto "github.com/in-toto/attestation/go/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func newKey(t *testing.T) PrivateKey {
	t.Helper()
	k, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func promotion(t *testing.T) Statement {
	t.Helper()
	s, err := NewStatement("web-base 1.0.3", digest, PredicatePromotion, Promotion{
		VersionID: "/subscriptions/s/…/versions/1.0.3", PromotedAt: time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC),
		Tests: TestResult{Result: "PASSED", PassedTests: []string{"ssh-up"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDetachedSignature(t *testing.T) {
	k, other := newKey(t), newKey(t)
	file := []byte("SOURCE_PUBLISHER=Debian\n")
	signature := Sign(k, file)
	if id, err := Verify(Trust(other.PublicKey, k.PublicKey), file, signature); err != nil || id != k.ID {
		t.Fatalf("got %s, %v", id, err)
	}
	forged := strings.Replace(string(signature), k.ID, other.ID, 1)
	for name, c := range map[string]struct {
		file, signature string
		trusted         Trusted
		want            error
	}{
		"other bytes":      {"SOURCE_PUBLISHER=Debiam\n", string(signature), Trust(k.PublicKey), ErrSignature},
		"other key's id":   {string(file), forged, Trust(k.PublicKey, other.PublicKey), ErrSignature},
		"nobody trusted":   {string(file), string(signature), Trust(), ErrUntrusted},
		"empty":            {string(file), "", Trust(k.PublicKey), ErrFormat},
		"more lines":       {string(file), string(signature) + "X=1\n", Trust(k.PublicKey), ErrFormat},
		"hostile key id":   {string(file), "KEYID=../../x\nSIGNATURE=AAAA\n", Trust(k.PublicKey), ErrFormat},
		"short signature":  {string(file), "KEYID=" + k.ID + "\nSIGNATURE=AAAA\n", Trust(k.PublicKey), ErrSignature},
		"long":             {string(file), strings.Repeat("A", 1<<20), Trust(k.PublicKey), ErrFormat},
		"loose base64":     {string(file), strings.Replace(string(signature), "==", "=\r=", 1), Trust(k.PublicKey), ErrFormat},
		"swapped the file": {string(signature), string(signature), Trust(k.PublicKey), ErrSignature},
	} {
		if _, err := Verify(c.trusted, []byte(c.file), []byte(c.signature)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

// TestOpenSSLAgrees lets openssl verify our signature with our public key, and
// compute the key's id.
func TestOpenSSLAgrees(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	k := newKey(t)
	public, err := k.PublicKey.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	file := []byte("IMAGE_VERSION=1.0.3\n")
	_, raw, err := parseSignature(Sign(k, file))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"pub.pem": public, "file": file, "sig": raw} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) string {
		t.Helper()
		command := exec.Command(openssl, args...)
		command.Dir = dir
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if out := run("pkeyutl", "-verify", "-pubin", "-inkey", "pub.pem", "-rawin", "-in", "file", "-sigfile", "sig"); !strings.Contains(out, "Verified Successfully") {
		t.Errorf("openssl says %s", out)
	}
	run("pkey", "-pubin", "-in", "pub.pem", "-outform", "DER", "-out", "der")
	if out := run("dgst", "-sha256", "-hex", "der"); !strings.Contains(out, k.ID) {
		t.Errorf("openssl's digest of the key is %s, our id %s", out, k.ID)
	}
	private, err := k.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), private, 0o600); err != nil {
		t.Fatal(err)
	}
	run("pkeyutl", "-sign", "-inkey", "key.pem", "-rawin", "-in", "file", "-out", "theirs")
	theirs, err := os.ReadFile(filepath.Join(dir, "theirs"))
	if err != nil {
		t.Fatal(err)
	}
	if err := Trust(k.PublicKey).verify(k.ID, file, theirs); err != nil {
		t.Errorf("openssl's signature: %v", err)
	}
}

// TestInTotoAgrees lets the in-toto project's own types read and validate our
// statement.
func TestInTotoAgrees(t *testing.T) {
	data, err := json.Marshal(promotion(t))
	if err != nil {
		t.Fatal(err)
	}
	var s intoto.Statement
	if err := protojson.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	if s.Subject[0].Digest["sha256"] != strings.TrimPrefix(digest, "sha256:") {
		t.Errorf("the subject is %v", s.Subject[0])
	}
}

// TestPreAuthEncoding is the example of the DSSE specification.
func TestPreAuthEncoding(t *testing.T) {
	got := string(preAuthEncoding("http://example.com/HelloWorld", []byte("hello world")))
	if want := "DSSEv1 29 http://example.com/HelloWorld 11 hello world"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEnvelope(t *testing.T) {
	k, other := newKey(t), newKey(t)
	e, err := SignStatement(k, promotion(t))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseEnvelope(data)
	if err != nil {
		t.Fatal(err)
	}
	s, signers, err := VerifyStatement(Trust(k.PublicKey), back)
	if err != nil || len(signers) != 1 || signers[0] != k.ID {
		t.Fatalf("got %v, %v", signers, err)
	}
	if !s.About(digest) || s.About("") || s.About("sha256:"+strings.Repeat("0", 64)) {
		t.Error("the statement is about the wrong image")
	}
	changed, _ := SignStatement(other, promotion(t))
	for name, c := range map[string]struct {
		change func(*Envelope)
		want   error
	}{
		"another payload":     {func(e *Envelope) { e.Payload = base64.StdEncoding.EncodeToString([]byte("{}")) }, ErrSignature},
		"another type":        {func(e *Envelope) { e.PayloadType = "text/plain" }, ErrFormat},
		"no signature":        {func(e *Envelope) { e.Signatures = nil }, ErrFormat},
		"a stranger's":        {func(e *Envelope) { e.Signatures = changed.Signatures }, ErrUntrusted},
		"a stranger's, ours":  {func(e *Envelope) { e.Signatures = append(changed.Signatures, e.Signatures...) }, nil},
		"a forged one, ours":  {func(e *Envelope) { e.Signatures = append([]EnvelopeSignature{{k.ID, "AAAA"}}, e.Signatures...) }, ErrSignature},
		"a million":           {func(e *Envelope) { e.Signatures = make([]EnvelopeSignature, 1e6) }, ErrFormat},
		"broken base64":       {func(e *Envelope) { e.Payload = "!" }, ErrFormat},
		"base64 for URLs too": {func(e *Envelope) { e.Signatures[0].Sig = urlSafe(e.Signatures[0].Sig) }, nil},
	} {
		bad, err := ParseEnvelope(data)
		if err != nil {
			t.Fatal(err)
		}
		c.change(&bad)
		if _, _, err := VerifyStatement(Trust(k.PublicKey), bad); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func urlSafe(text string) string { return strings.NewReplacer("+", "-", "/", "_").Replace(text) }

// TestATattooIsNoStatement: a signature of one kind never passes as the other.
func TestATattooIsNoStatement(t *testing.T) {
	k := newKey(t)
	e, err := SignStatement(k, promotion(t))
	if err != nil {
		t.Fatal(err)
	}
	payload, _ := base64.StdEncoding.DecodeString(e.Payload)
	detached := []byte("KEYID=" + k.ID + "\nSIGNATURE=" + e.Signatures[0].Sig + "\n")
	if _, err := Verify(Trust(k.PublicKey), payload, detached); !errors.Is(err, ErrSignature) {
		t.Errorf("got %v", err)
	}
}

func TestStatementsNeedADigest(t *testing.T) {
	for _, bad := range []string{"", "sha256:", "md5:abc", strings.ToUpper(digest)} {
		if _, err := NewStatement("x", bad, PredicatePromotion, Promotion{}); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}

func TestKeysRotate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	keys, err := OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	old, err := keys.Signer()
	if err != nil {
		t.Fatal(err)
	}
	signature := Sign(old, []byte("tattoo"))
	info, err := os.Stat(filepath.Join(dir, currentFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key's mode is %v, %v", info.Mode(), err)
	}
	again, err := OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	if k, err := again.Signer(); err != nil || k.ID != old.ID {
		t.Errorf("opening again made another key: %v", err)
	}
	fresh, err := keys.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	if k, err := again.Signer(); err != nil || k.ID != fresh.ID || k.ID == old.ID {
		t.Errorf("the signer is %s, %v", k.ID, err)
	}
	trusted, err := keys.Trusted()
	if err != nil || len(trusted) != 2 {
		t.Fatalf("trusted are %v, %v", trusted, err)
	}
	if id, err := Verify(trusted, []byte("tattoo"), signature); err != nil || id != old.ID {
		t.Errorf("the old key's signature: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestForeignKeys(t *testing.T) {
	dir := t.TempDir()
	keys, err := OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	friend := newKey(t)
	for range 2 {
		if err := keys.Trust(friend.PublicKey); err != nil {
			t.Fatal(err)
		}
	}
	trusted, err := keys.Trusted()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := trusted[friend.ID]; !ok {
		t.Error("the friend's key is not trusted")
	}
	public, _ := newKey(t).PublicKey.MarshalPEM()
	if err := os.WriteFile(filepath.Join(dir, friend.ID+publicSuffix), public, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Trusted(); !errors.Is(err, ErrKey) {
		t.Errorf("a key under another's id: got %v", err)
	}
}

func TestReadableKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	keys, err := OpenKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, currentFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := keys.Signer(); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v", err)
	}
}

func TestErrorsHoldNoKey(t *testing.T) {
	private, err := newKey(t).MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	_, err = ParsePrivateKey([]byte(strings.Replace(string(private), "MC4C", "AAAA", 1)))
	if err == nil || strings.Contains(err.Error(), strings.Split(string(private), "\n")[1][8:20]) {
		t.Errorf("got %v", err)
	}
}

func FuzzVerify(f *testing.F) {
	k, err := GenerateKey()
	if err != nil {
		f.Fatal(err)
	}
	trusted := Trust(k.PublicKey)
	f.Add([]byte("file"), Sign(k, []byte("file")))
	f.Add([]byte("file"), []byte("KEYID=\nSIGNATURE=\n"))
	f.Fuzz(func(t *testing.T, file, signature []byte) {
		if _, err := Verify(trusted, file, signature); err == nil && string(file) != "file" {
			t.Errorf("a signature of %q was accepted", file)
		}
	})
}

func FuzzVerifyStatement(f *testing.F) {
	k, err := GenerateKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":[{"keyid":"` + k.ID + `","sig":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := ParseEnvelope(data)
		if err != nil {
			return
		}
		if _, _, err := VerifyStatement(Trust(k.PublicKey), e); err == nil {
			t.Error("an envelope that nobody signed was accepted")
		}
	})
}
