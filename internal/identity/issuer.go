package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// signingFile holds the key of tokens, 0600.
const signingFile = "signing.key"

// Lifetime of access tokens.
const Lifetime = time.Hour

// Issuer signs and verifies access tokens (JWT, ES256) with a key in a folder.
type Issuer struct {
	key    *ecdsa.PrivateKey
	keyID  string
	tenant string
	now    func() time.Time

	mu sync.Mutex
	// known are the claims of tokens whose signature has been checked, by their
	// SHA-256: checking it takes longer than all else that a small request does.
	known map[[sha256.Size]byte]*claims
}

// mostKnown bounds how many tokens are remembered.
const mostKnown = 4096

// claims are those that ARM clients and Azure's own tokens know.
type claims struct {
	jwt.RegisteredClaims
	TenantID string `json:"tid"`
	ObjectID string `json:"oid"`
	AppID    string `json:"appid,omitempty"`
	Name     string `json:"app_displayname,omitempty"`
	IDType   string `json:"idtyp,omitempty"`
	Version  string `json:"ver"`
}

// OpenIssuer reads the signing key in dir, and makes one at the first start. nil now
// means time.Now.
func OpenIssuer(dir, tenant string, now func() time.Time) (*Issuer, error) {
	if now == nil {
		now = time.Now
	}
	raw, err := readOrCreate(filepath.Join(dir, signingFile), newSigningKey)
	if err != nil {
		return nil, fmt.Errorf("reading the signing key: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("reading the signing key: %s is not PEM; restore it or remove it to make a new one", signingFile)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading the signing key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, fmt.Errorf("reading the signing key: %s is not a P-256 key", signingFile)
	}
	return &Issuer{key: key, keyID: keyID(key), tenant: tenant, now: now}, nil
}

func newSigningKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// keyID is the RFC 7638 thumbprint.
func keyID(key *ecdsa.PrivateKey) string {
	x, y := coordinates(key)
	sum := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + x + `","y":"` + y + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func coordinates(key *ecdsa.PrivateKey) (x, y string) {
	point, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil || len(point) != 65 {
		return "", ""
	}
	return base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:])
}

// JWK is the public key as a member of a JWKS document.
func (i *Issuer) JWK() map[string]string {
	x, y := coordinates(i.key)
	return map[string]string{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": i.keyID, "x": x, "y": y}
}

// Issue signs a token for a principal. issuer is the URL that discovery gives
// (U/adfs), audience the resource that the client asked for.
func (i *Issuer) Issue(p Principal, issuer, audience string) (string, error) {
	now := i.now()
	t := jwt.NewWithClaims(jwt.SigningMethodES256, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: p.ObjectID, Audience: jwt.ClaimStrings{audience}, ID: NewID(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(Lifetime)),
		},
		TenantID: i.tenant, ObjectID: p.ObjectID, AppID: p.AppID, Name: p.Name, IDType: "app", Version: "1.0",
	})
	t.Header["kid"] = i.keyID
	signed, err := t.SignedString(i.key)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return signed, nil
}

// Verify implements Verifier for tokens that Issue made for ARM; those for the graph
// are refused. The signature says that this installation made the token and for
// whom; the tenant must be ours, and the times are checked with a minute of leeway.
func (i *Issuer) Verify(_ context.Context, token string) (Principal, error) {
	return i.verify(token, "")
}

// Graph verifies tokens for the graph, and those for Resource Manager, too: a
// principal may do no more with one than with the other.
func (i *Issuer) Graph() Verifier { return graphVerifier{i} }

type graphVerifier struct{ *Issuer }

func (g graphVerifier) Verify(_ context.Context, token string) (Principal, error) {
	return g.verify(token, "", "graph")
}

func (i *Issuer) verify(token string, audiences ...string) (Principal, error) {
	c, err := i.parse(token)
	if err != nil {
		return Principal{}, err
	}
	if len(c.Audience) != 1 || !slices.Contains(audiences, audiencePath(c.Audience[0])) {
		return Principal{}, &TokenError{Code: CodeInvalidTokenAudience, Message: fmt.Sprintf(
			"The access token has been obtained for wrong audience or resource '%s'. It should exactly match with one of the allowed audiences: this server's own URL.", clip(strings.Join(c.Audience, " ")))}
	}
	return Principal{ObjectID: c.ObjectID, AppID: c.AppID, Name: c.Name, TenantID: c.TenantID, Kind: "ServicePrincipal"}, nil
}

// parse is what a token says, if its signature, its times and its tenant are right.
// Only the times can change of a token that was right once.
func (i *Issuer) parse(token string) (*claims, error) {
	digest := sha256.Sum256([]byte(token))
	if c := i.recall(digest); c != nil {
		return c, nil
	}
	c, err := i.check(token)
	if err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.known == nil || len(i.known) >= mostKnown {
		i.known = map[[sha256.Size]byte]*claims{}
	}
	i.known[digest] = c
	return c, nil
}

// recall is nil of tokens that are not known, and of those that have expired.
func (i *Issuer) recall(digest [sha256.Size]byte) *claims {
	i.mu.Lock()
	defer i.mu.Unlock()
	if c := i.known[digest]; c != nil && i.now().Before(c.ExpiresAt.Time) {
		return c
	}
	return nil
}

func (i *Issuer) check(token string) (*claims, error) {
	c := &claims{}
	_, err := jwt.ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return &i.key.PublicKey, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(time.Minute), jwt.WithTimeFunc(i.now))
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return nil, Expired(c.ExpiresAt.Time, i.now()).because(err)
	case err != nil:
		return nil, Invalid(err)
	case !strings.EqualFold(c.TenantID, i.tenant):
		return nil, WrongTenant(c.TenantID, i.tenant)
	case c.ObjectID == "" || c.ObjectID == System.ObjectID:
		return nil, Invalid(errors.New("it names no principal"))
	}
	return c, nil
}

// audiencePath is the path of an audience without slashes: "" for U, U/ and U//, "graph"
// for U/graph/.
func audiencePath(audience string) string {
	u, err := url.Parse(audience)
	if err != nil || u.Host == "" {
		return audience
	}
	return strings.Trim(u.Path, "/")
}
