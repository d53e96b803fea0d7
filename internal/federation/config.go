package federation

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/google/uuid"
)

// Config is an issuer whose tokens are accepted; docs/access.md explains the fields.
type Config struct {
	// Issuer is the URL that tokens name as "iss"; discovery and keys are read there.
	Issuer string `yaml:"issuer"`
	// Audiences are those of which a token needs one.
	Audiences []string `yaml:"audiences"`
	// Tenant is what the claim "tid" must be; "" does not look at it.
	Tenant string `yaml:"tenant,omitempty"`
	// ObjectIDs is "derived" (the default) or "issuer"; see ObjectID.
	ObjectIDs string `yaml:"objectIds,omitempty"`
	Claims    Claims `yaml:"claims,omitempty"`
	// KeyHosts are hosts, besides the issuer's own, that its keys may be at.
	KeyHosts []string `yaml:"keyHosts,omitempty"`
	// CAFile holds the authorities that the issuer's certificate is checked with; "": the system's.
	CAFile string `yaml:"caFile,omitempty"`
	// AllowHTTP lets the issuer be at http://, on this machine's loopback only.
	AllowHTTP bool `yaml:"allowHttp,omitempty"`
}

// Claims are the names of claims; empty ones take the defaults.
type Claims struct {
	ObjectID string `yaml:"objectId,omitempty"` // oid if there is one, else sub
	Name     string `yaml:"name,omitempty"`     // preferred_username, upn, email, or name
	Groups   string `yaml:"groups,omitempty"`   // groups
}

// Values of Config.ObjectIDs.
const (
	Derived    = "derived"
	FromIssuer = "issuer"
)

// Check is everything that is wrong with a configuration.
func Check(all []Config) error {
	var errs []error
	asTheyAre := 0
	seen := map[string]bool{}
	for i, c := range all {
		at := fmt.Sprintf("issuers[%d]", i)
		if err := c.checkURL(); err != nil {
			errs = append(errs, fmt.Errorf("%s.issuer: %w", at, err))
		}
		if seen[c.Issuer] {
			errs = append(errs, fmt.Errorf("%s.issuer: %s is there twice", at, c.Issuer))
		}
		seen[c.Issuer] = true
		if len(c.Audiences) == 0 {
			errs = append(errs, fmt.Errorf("%s.audiences: at least one is needed: a token for somebody else must not be accepted here", at))
		}
		switch c.ObjectIDs {
		case "", Derived:
		case FromIssuer:
			if asTheyAre++; asTheyAre > 1 {
				errs = append(errs, fmt.Errorf("%s.objectIds: only one issuer may have %q: two could name different people by the same id", at, FromIssuer))
			}
		default:
			errs = append(errs, fmt.Errorf("%s.objectIds: %q is neither %q nor %q", at, c.ObjectIDs, Derived, FromIssuer))
		}
	}
	return errors.Join(errs...)
}

func (c Config) checkURL() error {
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return fmt.Errorf("%q is not the URL of an issuer", c.Issuer)
	case u.Scheme == "https":
		return nil
	case u.Scheme != "http" || !c.AllowHTTP:
		return fmt.Errorf("%q must be https", c.Issuer)
	case !loopback(u.Hostname()):
		return fmt.Errorf("%q: allowHttp is for an issuer on this machine only (127.0.0.1)", c.Issuer)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// namespace makes our derived ids differ from everybody else's (RFC 9562, version 5).
var namespace = uuid.MustParse("6f1f5a2e-6d0e-4c39-9d44-0b6c8f7e2f11")

// ObjectID is the object id of somebody whose claim has a value. Derived ones are a
// hash of issuer and value, so that two issuers never name the same; taken as they are
// they are those that the issuer's own tools show, as with Entra ID.
func (c Config) ObjectID(value string) string { return c.id("", value) }

// GroupID is ObjectID for a group.
func (c Config) GroupID(value string) string { return c.id("group", value) }

func (c Config) id(kind, value string) string {
	if c.ObjectIDs == FromIssuer {
		return strings.ToLower(value)
	}
	return uuid.NewSHA1(namespace, []byte(c.Issuer+"\x00"+kind+"\x00"+value)).String()
}
