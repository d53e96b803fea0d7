package federation

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"hallmark.dev/hallmark/internal/identity"
)

// leeway is how far the issuer's clock may be behind; a token may be used that long
// after its end. (go-oidc itself allows five minutes before its beginning.)
const leeway = time.Minute

// algorithms are signatures; nothing with a shared secret, and never none.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

// Verifier verifies tokens of configured issuers, and gives all others to Own. It is
// safe for concurrent use.
type Verifier struct {
	own     identity.Verifier
	issuers map[string]*issuer
	seen    func(ctx context.Context, p identity.Principal, displayName string, now time.Time) error
	now     func() time.Time
}

// person is somebody whose token is accepted.
type person struct {
	identity.Principal
	displayName string
}

type issuer struct {
	Config
	now    func() time.Time
	source *source
}

// source is the issuer's keys, once they could be found; all verifiers share it.
type source struct {
	mu  sync.Mutex
	set *oidc.IDTokenVerifier
}

// New makes a verifier. Nothing is read from an issuer before the first token of it.
// seen, if not nil, is called with everybody whose token is accepted; what it fails
// with is nobody's reason to be refused.
func New(all []Config, own identity.Verifier, seen func(ctx context.Context, p identity.Principal, displayName string, now time.Time) error, now func() time.Time) (*Verifier, error) {
	if err := Check(all); err != nil {
		return nil, err
	}
	if now == nil {
		now = time.Now
	}
	v := &Verifier{own: own, issuers: map[string]*issuer{}, seen: seen, now: now}
	for _, c := range all {
		v.issuers[c.Issuer] = &issuer{Config: c, now: now, source: &source{}}
	}
	return v, nil
}

// With is the same verifier with another one for our own tokens.
func (v *Verifier) With(own identity.Verifier) *Verifier {
	c := *v
	c.own = own
	return &c
}

// Verify implements identity.Verifier.
func (v *Verifier) Verify(ctx context.Context, token string) (identity.Principal, error) {
	var i *issuer
	if len(v.issuers) > 0 { // reading the token's claims takes longer than our own verifier does
		i = v.issuers[named(token)]
	}
	if i == nil {
		return v.own.Verify(ctx, token)
	}
	who, err := i.verify(ctx, token)
	if err == nil && v.seen != nil {
		_ = v.seen(ctx, who.Principal, who.displayName, v.now())
	}
	return who.Principal, err
}

// named is the issuer that a token says it is of; nothing about it is checked yet.
func named(token string) string {
	_, rest, _ := strings.Cut(token, ".")
	payload, _, ok := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	var claims struct {
		Issuer string `json:"iss"`
	}
	if !ok || err != nil || json.Unmarshal(raw, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

func (i *issuer) verify(ctx context.Context, token string) (person, error) {
	keys, err := i.keys(ctx)
	if err != nil {
		return person{}, identity.Invalid(fmt.Errorf("the keys of %s: %w", i.Issuer, err))
	}
	checked, err := keys.Verify(ctx, token)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return person{}, identity.Expired(expired.Expiry, i.now())
	case err != nil:
		return person{}, identity.Invalid(err)
	case !slices.ContainsFunc(i.Audiences, func(a string) bool { return slices.Contains(checked.Audience, a) }):
		return person{}, &identity.TokenError{Code: identity.CodeInvalidTokenAudience, Message: fmt.Sprintf(
			"The access token has been obtained for wrong audience or resource '%s'. It should exactly match with one of the allowed audiences '%s'.",
			clip(strings.Join(checked.Audience, ",")), strings.Join(i.Audiences, ","))}
	}
	var claims map[string]any
	if err := checked.Claims(&claims); err != nil {
		return person{}, identity.Invalid(err)
	}
	return i.principal(checked.Subject, claims)
}

// keys finds the issuer's keys, once. Later ones are read when a token names one that
// is not known.
func (i *issuer) keys(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	i.source.mu.Lock()
	defer i.source.mu.Unlock()
	if i.source.set != nil {
		return i.source.set, nil
	}
	client, err := i.client(i.now)
	if err != nil {
		return nil, err
	}
	// Keys are read for as long as the server runs, not only during this request.
	p, err := oidc.NewProvider(oidc.ClientContext(context.WithoutCancel(ctx), client), i.Issuer)
	if err != nil {
		return nil, err
	}
	i.source.set = p.Verifier(&oidc.Config{SkipClientIDCheck: true, SupportedSigningAlgs: algorithms, Now: func() time.Time { return i.now().Add(-leeway) }})
	return i.source.set, nil
}

func (i *issuer) principal(subject string, claims map[string]any) (person, error) {
	text := func(names ...string) string {
		for _, n := range names {
			if s, ok := claims[n].(string); ok && n != "" && s != "" {
				return s
			}
		}
		return ""
	}
	tenant := text("tid")
	if i.Tenant != "" && !strings.EqualFold(tenant, i.Tenant) {
		return person{}, identity.WrongTenant(tenant, i.Tenant)
	}
	id := text(i.Claims.ObjectID)
	if i.Claims.ObjectID == "" {
		if id = text("oid"); id == "" {
			id = subject
		}
	}
	if id == "" || i.ObjectID(id) == identity.System.ObjectID {
		return person{}, identity.Invalid(fmt.Errorf("it names nobody (claim %q)", i.Claims.ObjectID))
	}
	p := identity.Principal{ObjectID: i.ObjectID(id), AppID: text("appid", "azp", "client_id"), TenantID: tenant, Kind: "User", Issuer: i.Issuer,
		Name: clip(text(i.Claims.Name, "preferred_username", "upn", "email", "name", "app_displayname", "sub")), Groups: i.groups(claims)}
	if text("idtyp") == "app" {
		p.Kind = "ServicePrincipal"
	}
	return person{Principal: p, displayName: clip(text("name", i.Claims.Name, "preferred_username", "sub"))}, nil
}

// maxGroups is how many groups of a token count, as many as Entra ID puts into one.
const maxGroups = 200

func (i *issuer) groups(claims map[string]any) identity.Groups {
	name := i.Claims.Groups
	if name == "" {
		name = "groups"
	}
	list, _ := claims[name].([]any)
	var ids []string
	for _, g := range list[:min(len(list), maxGroups)] {
		if s, ok := g.(string); ok && s != "" {
			ids = append(ids, i.GroupID(s))
		}
	}
	return identity.NewGroups(ids)
}

func clip(s string) string {
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}
