package network

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Sizes of what an instance takes of Pool when nothing is configured.
const (
	machineBits = 20 // 4,000 machines
	stepBits    = 24 // 64 build steps at once, four addresses each
	linkBits    = 30 // one step's veth pair
)

// Pool is where default prefixes are taken from: shared address space
// neighbours in 10.0.0.0/8, which home and office networks use least.
var Pool = netip.MustParsePrefix("10.64.0.0/10")

// Config says which addresses an instance uses. Prefixes are IPv4.
type Config struct {
	// Instance tells this instance's devices and rules from another's. Any
	// string that is unique on the host: the path of its data directory, say.
	Instance string `json:"instance"`
	// Machines is the bridge's network. Its first address is the gateway.
	Machines netip.Prefix `json:"machines"`
	// Steps is cut into one small network for each build step.
	Steps netip.Prefix `json:"steps"`
	// Isolate keeps machines from talking to each other on the bridge.
	Isolate bool `json:"isolate,omitempty"`
}

// Default picks free prefixes for an instance; taken is what the host's
// addresses and routes occupy (HostPrefixes).
func Default(instance string, taken []netip.Prefix) (Config, error) {
	machines, err := freePrefix(Pool, machineBits, taken)
	if err != nil {
		return Config{}, err
	}
	steps, err := freePrefix(Pool, stepBits, append(taken[:len(taken):len(taken)], machines))
	if err != nil {
		return Config{}, err
	}
	return Config{Instance: instance, Machines: machines, Steps: steps}, nil
}

// Load reads the configuration that an instance keeps in file, and picks and
// durably writes one on first use, so that addresses stay the same for good.
func Load(file, instance string) (Config, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return create(file, instance)
	}
	if err != nil {
		return Config{}, err
	}
	var c Config
	if err := json.Unmarshal(text, &c); err != nil {
		return Config{}, fmt.Errorf("reading network settings %s: %w; correct the file, or delete it to have new addresses picked", file, err)
	}
	if err := c.Validate(); err != nil {
		return Config{}, fmt.Errorf("network settings %s: %w", file, err)
	}
	return c, nil
}

func create(file, instance string) (Config, error) {
	taken, err := HostPrefixes()
	if err != nil {
		return Config{}, err
	}
	c, err := Default(instance, taken)
	if err != nil {
		return Config{}, err
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return Config{}, err
	}
	return c, writeFile(file, append(text, '\n'))
}

// Validate reports everything that is wrong, at once.
func (c Config) Validate() error {
	var errs []error
	if c.Instance == "" {
		errs = append(errs, errors.New("instance: must not be empty"))
	}
	errs = append(errs, checkPrefix("machines", c.Machines, 28), checkPrefix("steps", c.Steps, linkBits))
	if c.Machines.IsValid() && c.Steps.IsValid() && c.Machines.Overlaps(c.Steps) {
		errs = append(errs, fmt.Errorf("steps: %s overlaps machines (%s)", c.Steps, c.Machines))
	}
	return errors.Join(errs...)
}

func checkPrefix(path string, p netip.Prefix, longest int) error {
	switch {
	case !p.IsValid() || !p.Addr().Is4():
		return fmt.Errorf("%s: must be an IPv4 prefix such as 10.64.0.0/20", path)
	case p != p.Masked():
		return fmt.Errorf("%s: %s has bits set beyond its length; write %s", path, p, p.Masked())
	case p.Bits() > longest:
		return fmt.Errorf("%s: %s is too small; /%d at most", path, p, longest)
	}
	return nil
}

// Gateway is the host's address on the bridge: the machines' default route.
func (c Config) Gateway() netip.Addr { return c.Machines.Addr().Next() }

// Bridge is the bridge device's name.
func (c Config) Bridge() string { return c.mark() + "br" }

// Tap is the name of a machine's tap device.
func (c Config) Tap(machine string) string { return c.mark() + "t" + short(machine) }

func (c Config) veth(step string) string { return c.mark() + "v" + short(step) }

// mark begins the name of everything that belongs to the instance.
func (c Config) mark() string { return "hm" + short(c.Instance) }

// short is six characters of 30 bits: device names end at 15 characters. Two
// machines that collide are noticed by the device's alias.
func short(s string) string {
	sum := sha256.Sum256([]byte(s))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5])[:6])
}

func writeFile(file string, text []byte) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, filepath.Base(file)+".*.part")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
