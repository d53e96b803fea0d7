package imagebuilder

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/build"
	"hallmark.dev/hallmark/internal/image"
)

// maxInput is how large a script or file of a customizer may be, as in Azure.
const maxInput = 20 << 20

func recipeSecrets(r *image.Recipe) map[string]image.Secret {
	if r == nil {
		return nil
	}
	return r.Secrets
}

// base brings the source image here.
func (s *service) base(ctx context.Context, src image.Source, found sourceImage, location string, progress func(string)) (Base, error) {
	switch src.Type {
	case "PlatformImage":
		return s.Sources.Platform(ctx, src.Publisher, src.Offer, src.SKU, src.Version, progress)
	case "URL":
		return s.Sources.Fetched(ctx, URL{URI: src.URI, SHA256: src.SHA256Checksum, ChecksumURI: src.ChecksumURI, Format: src.Format}, progress)
	case "ManagedImage", "SharedImageVersion":
		b, err := s.Sources.Stored(ctx, location, found.digest)
		b.Version = found.version
		b.SourceDigest = found.digest
		b.Foreign = found.ownBoot
		return b, err
	}
	return Base{}, fmt.Errorf("a source of type %q cannot be built on", src.Type)
}

// inputs fetches what the customizers name: blobs of this server, and files by https.
func (s *service) inputs(ctx context.Context, r *image.Recipe) (map[string][]byte, error) {
	got := map[string][]byte{}
	for _, in := range r.Inputs() {
		data, err := s.input(ctx, in.URI)
		if err != nil {
			return nil, err
		}
		got[in.URI] = data
	}
	return got, nil
}

// checkSum compares text with the SHA-256 that a customizer gives, if it gives one.
func checkSum(text, want string) error {
	sum := sha256.Sum256([]byte(text))
	if got := hex.EncodeToString(sum[:]); want != "" && !strings.EqualFold(got, want) {
		return fmt.Errorf("the file has the SHA-256 %s, and sha256Checksum says %s: check what changed, then correct it", got, want)
	}
	return nil
}

func (s *service) input(ctx context.Context, uri string) ([]byte, error) {
	path, file, err := s.Artifacts.Resolve(uri)
	if err != nil {
		return s.Fetch.Fetch(ctx, uri, maxInput) // not a blob of ours
	}
	if file.Size > maxInput {
		return nil, fmt.Errorf("the blob %s has %d bytes; at most %d can be a script or file of a customizer", uri, file.Size, int64(maxInput))
	}
	return os.ReadFile(path)
}

// resolved is what the plan says about its source.
func resolved(src image.Source, found sourceImage, b Base) image.ResolvedSource {
	id := found.id
	if src.Type == "URL" {
		id = src.URI
	}
	digest := b.SourceDigest
	if digest == "" {
		digest = b.Digest
	}
	return image.ResolvedSource{ID: id, Publisher: src.Publisher, Offer: src.Offer, SKU: src.SKU, Version: b.Version, Digest: digest}
}

// plan is what internal/build is asked to do. id names the template, so that a
// new run drops the failed state of the last.
func (s *service) plan(id string, r *image.Recipe, p *image.Plan, b Base, secrets map[string]string, left time.Duration) (build.Plan, error) {
	out := build.Plan{ID: id, Base: b.Base, Timeout: left, EngineVersion: s.EngineVersion, Variables: map[string]string{}}
	if r.VMProfile != nil {
		out.OSDiskSizeGB = r.VMProfile.OSDiskSizeGB
	}
	if r.Cache != nil && r.Cache.MaxAge != nil {
		// A recipe's zero means never; a plan's zero means the default.
		out.CacheMaxAge = max(r.Cache.MaxAge.Std(), time.Nanosecond)
	}
	if r.Proxy != nil {
		out.Proxy = r.Proxy.HTTPS
		if out.Proxy == "" {
			out.Proxy = r.Proxy.HTTP
		}
		out.NoProxy = strings.Join(r.Proxy.NoProxy, ",")
	}
	for name, value := range p.Environment {
		if !strings.HasSuffix(strings.ToLower(name), "_proxy") { // these are given as Proxy, and are no part of cache keys
			out.Variables[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		out.Secrets = append(out.Secrets, build.Secret{Name: name, Value: []byte(secrets[name])})
	}
	for _, step := range p.Steps {
		converted, err := buildStep(step)
		if err != nil {
			return build.Plan{}, err
		}
		out.Steps = append(out.Steps, converted)
	}
	return out, nil
}

func buildStep(s image.Step) (build.Step, error) {
	out := build.Step{Name: s.Name, Env: s.Env, ValidExitCodes: s.ValidExitCodes, Isolation: build.Isolation(s.Isolation), Boot: s.Boot, Timeout: time.Duration(s.Timeout)}
	switch s.Kind {
	case image.KindShell:
		out.Kind, out.Script, out.Offline = build.Shell, []byte(s.Script), !s.Network
	case image.KindFile:
		mode, err := parseMode(s.Mode)
		if err != nil {
			return out, fmt.Errorf("%s: %w", s.Name, err)
		}
		out.Kind, out.Content, out.Dest, out.Mode, out.Owner = build.File, s.Content, s.Destination, mode, s.Owner
	default:
		return out, fmt.Errorf("%s: a %s customizer cannot be carried out here", s.Name, s.Kind)
	}
	return out, nil
}

// parseMode reads octal permissions; the bits beyond 0777 sit elsewhere in Go's modes.
func parseMode(text string) (fs.FileMode, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 8, 12)
	if err != nil {
		return 0, fmt.Errorf("the mode %q is not an octal number such as 0644", text)
	}
	mode := fs.FileMode(n & 0o777)
	for bit, flag := range map[uint64]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if n&bit != 0 {
			mode |= flag
		}
	}
	return mode, nil
}
