package frontdoor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"hallmark.dev/hallmark/internal/identity"
)

// SignIn is where clients find the login endpoint and get tokens: an AD FS shaped
// authority, because any other makes Microsoft's libraries ask Microsoft's own
// discovery host first.
type SignIn struct {
	Directory Directory
	Issuer    Issuer
	Now       func() time.Time // nil: time.Now
}

// Directory checks secrets; *identity.Directory does.
type Directory interface {
	Authenticate(ctx context.Context, appID, secret string, now time.Time) (identity.Principal, error)
}

// Issuer signs tokens; *identity.Issuer does.
type Issuer interface {
	Issue(p identity.Principal, issuer, audience string) (string, error)
	JWK() map[string]string
}

func (s SignIn) register(mux *http.ServeMux) {
	if s.Now == nil {
		s.Now = time.Now
	}
	mux.HandleFunc("GET /metadata/endpoints", s.metadata)
	if s.Issuer == nil || s.Directory == nil {
		return
	}
	// Clients may put a tenant between /adfs and the rest; it makes no difference.
	for _, prefix := range []string{"/adfs", "/adfs/{tenant}"} {
		mux.HandleFunc("GET "+prefix+"/.well-known/openid-configuration", s.discovery)
		mux.HandleFunc("POST "+prefix+"/oauth2/token", s.token)
		mux.HandleFunc("POST "+prefix+"/oauth2/v2.0/token", s.token)
	}
	mux.HandleFunc("GET /adfs/discovery/keys", s.keys)
}

// metadata answers the three forms that clients ask for: 2015-01-01 is that of
// az cloud register in Debian's az 2.45, 2022-09-01 (one object) that of current ones,
// and any other (2019-05-01) an array, for ARM_CLOUD_METADATA_URL.
func (s SignIn) metadata(w http.ResponseWriter, r *http.Request) {
	u := baseURL(r)
	version := r.URL.Query().Get("api-version")
	if strings.HasPrefix(version, "2015") {
		writeJSON(w, 200, map[string]any{
			"galleryEndpoint": u, "graphEndpoint": u + "/graph/", "portalEndpoint": u,
			"authentication": map[string]any{"loginEndpoint": u + "/adfs", "audiences": []string{u + "/"}},
		})
		return
	}
	cloud := map[string]any{
		"name": "hallmark", "portal": u,
		"authentication":  map[string]any{"loginEndpoint": u + "/adfs", "audiences": []string{u + "/"}, "tenant": "adfs", "identityProvider": "ADFS"},
		"resourceManager": u, "graphAudience": u + "/graph/", "microsoftGraphResourceId": u + "/graph/", "graph": u + "/graph/",
		"vmImageAliasDoc": u + "/aliases.json", "gallery": u, "batch": u + "/", "media": u, "sqlManagement": u, "activeDirectoryDataLake": u,
		"suffixes": map[string]string{"storage": "local.invalid", "keyVaultDns": "vault.local.invalid", "acrLoginServer": "cr.local.invalid", "sqlServerHostname": "sql.local.invalid"},
	}
	if version == "2022-09-01" {
		writeJSON(w, 200, cloud)
		return
	}
	writeJSON(w, 200, []any{cloud})
}

func (s SignIn) discovery(w http.ResponseWriter, r *http.Request) {
	u := baseURL(r) + "/adfs"
	writeJSON(w, 200, map[string]any{
		"issuer": u, "authorization_endpoint": u + "/oauth2/authorize", "token_endpoint": u + "/oauth2/token",
		"device_authorization_endpoint": u + "/oauth2/devicecode", "jwks_uri": u + "/discovery/keys",
		"response_types_supported": []string{"token"}, "subject_types_supported": []string{"pairwise"}, "grant_types_supported": []string{"client_credentials"},
		"id_token_signing_alg_values_supported": []string{"ES256"}, "token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic"},
	})
}

func (s SignIn) keys(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, 200, map[string]any{"keys": []any{s.Issuer.JWK()}})
}

// token serves the client credentials grant.
func (s SignIn) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		oauthError(w, 400, "invalid_request", "AADSTS900144: The request body must be a form.")
		return
	}
	if g := r.PostForm.Get("grant_type"); g != "client_credentials" {
		oauthError(w, 400, "unsupported_grant_type", "AADSTS70003: The app requested an unsupported grant type. Sign in as a service principal with a client secret.")
		return
	}
	id, secret := credentials(r)
	p, err := s.Directory.Authenticate(r.Context(), id, secret, s.Now())
	if errors.Is(err, identity.ErrUnauthenticated) {
		oauthError(w, 401, "invalid_client", "AADSTS7000215: Invalid client id or client secret provided. Ensure that the secret sent is the secret's value, not its id, and that it has not expired.")
		return
	}
	audience, ok := s.audience(r)
	if err == nil && !ok {
		oauthError(w, 400, "invalid_resource", "AADSTS500011: The resource named in the scope is not served here.")
		return
	}
	s.issue(w, r, p, audience, err)
}

func (s SignIn) issue(w http.ResponseWriter, r *http.Request, p identity.Principal, audience string, err error) {
	var token string
	if err == nil {
		token, err = s.Issuer.Issue(p, baseURL(r)+"/adfs", audience)
	}
	if err != nil {
		oauthError(w, 500, "server_error", "AADSTS90033: The token could not be made; the server's log says why.")
		return
	}
	seconds := int(identity.Lifetime.Seconds()) - 1
	writeJSON(w, 200, map[string]any{"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token})
}

func credentials(r *http.Request) (id, secret string) {
	if u, p, ok := r.BasicAuth(); ok {
		id, _ = url.QueryUnescape(u)
		secret, _ = url.QueryUnescape(p)
		return id, secret
	}
	return r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
}

// azureAudiences are what clients without a custom audience ask for.
var azureAudiences = []string{"management.azure.com", "management.core.windows.net"}

// audience is the resource that a token is asked for: scope without /.default, or the
// older resource parameter. It must be this server.
func (s SignIn) audience(r *http.Request) (string, bool) {
	a := r.PostForm.Get("resource")
	for scope := range strings.FieldsSeq(r.PostForm.Get("scope")) {
		if before, ok := strings.CutSuffix(scope, "/.default"); ok {
			a = before
		}
	}
	u, err := url.Parse(a)
	if err != nil || u.Scheme != "https" || !strings.EqualFold(u.Host, r.Host) && !slices.Contains(azureAudiences, strings.ToLower(u.Host)) {
		return "", false
	}
	return a, true
}

func oauthError(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": description})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		http.Error(w, fmt.Sprint("writing JSON: ", err), 500)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(raw) // the client went away: nobody to tell
}
