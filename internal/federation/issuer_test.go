package federation_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/federation"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/roles"
	"hallmark.dev/hallmark/internal/store/mem"
)

const audience = "https://hallmark.example/"

// issuer is a process of oidc-provider, which is not ours.
type issuer struct {
	url     string
	process *exec.Cmd
	lines   *bufio.Scanner
}

func startIssuer(t *testing.T) *issuer {
	t.Helper()
	folder := os.Getenv("HALLMARK_OIDC")
	if folder == "" {
		t.Skip("HALLMARK_OIDC does not name a folder with oidc-provider: HALLMARK_OIDC=$(scripts/oidc)")
	}
	i := &issuer{process: exec.CommandContext(t.Context(), "node", "testdata/issuer.mjs", folder)}
	out, err := i.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := i.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = i.process.Process.Kill(); _ = i.process.Wait() })
	i.lines = bufio.NewScanner(out)
	i.url = strings.TrimPrefix(i.wait(t, "ready "), "ready ")
	return i
}

func (i *issuer) wait(t *testing.T, prefix string) string {
	t.Helper()
	for i.lines.Scan() {
		if line := i.lines.Text(); strings.HasPrefix(line, prefix) {
			return line
		}
	}
	t.Fatalf("the issuer ended before it said %q", prefix)
	return ""
}

func (i *issuer) rotate(t *testing.T) {
	t.Helper()
	if err := i.process.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	i.wait(t, "rotated")
}

func (i *issuer) token(t *testing.T, resource string) string {
	t.Helper()
	resp, err := http.PostForm(i.url+"/token", url.Values{"grant_type": {"client_credentials"}, "client_id": {"ada"}, "client_secret": {"lovelace"}, "resource": {resource}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Token == "" {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return answer.Token
}

func ask(t *testing.T, s *providertest.Server, token string) (int, string, http.Header) {
	t.Helper()
	status, header, body := s.DoAs(t, token, "GET", providertest.Group().String()+"?api-version=2021-04-01", nil)
	var e struct{ Error arm.Error }
	_ = json.Unmarshal(body, &e)
	return status, e.Error.Code, header
}

func give(t *testing.T, s *providertest.Server, principal, kind string) {
	t.Helper()
	status, _, body := s.Do(t, "PUT", providertest.Group().String()+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-00000000000a?api-version=2022-04-01",
		`{"properties":{"roleDefinitionId":"/x/acdd72a7-3385-48ef-bd42-f606fba81ae7","principalId":"`+principal+`","principalType":"`+kind+`"}}`)
	if status != 201 {
		t.Fatalf("%d %s", status, body)
	}
}

func server(t *testing.T, cfg federation.Config) *providertest.Server {
	t.Helper()
	s := mem.New()
	return providertest.Start(t, providertest.WithStore(s), providertest.WithIssuers(cfg), providertest.With(roles.New(roles.Config{Index: access.New(s), Foreign: true})))
}

func TestTokensOfAnIssuerThatIsNotOurs(t *testing.T) {
	i := startIssuer(t)
	cfg := federation.Config{Issuer: i.url, Audiences: []string{audience}, Tenant: "their-tenant", AllowHTTP: true}
	s := server(t, cfg)
	token := i.token(t, audience)
	if status, code, _ := ask(t, s, token); status != 403 || code != arm.CodeAuthorizationFailed {
		t.Fatalf("without a role: %d %s", status, code)
	}
	give(t, s, cfg.GroupID("poets"), "Group")
	if status, code, _ := ask(t, s, token); status != 200 {
		t.Errorf("with a role for a group of the token: %d %s", status, code)
	}
	_, _, users := s.DoAs(t, token, "GET", "/graph/v1.0/users?$filter=userPrincipalName%20eq%20'ada@example.org'", nil)
	if !strings.Contains(string(users), cfg.ObjectID("AAAAAAAA-0000-0000-0000-000000000001")) {
		t.Errorf("not among the users: %s", users)
	}
	status, code, header := ask(t, s, i.token(t, "https://other.example/"))
	if status != 401 || code != "InvalidAuthenticationTokenAudience" || !strings.Contains(header.Get("WWW-Authenticate"), "Bearer ") {
		t.Errorf("a token for somebody else: %d %s %v", status, code, header)
	}
	if status, code, _ := ask(t, s, token[:len(token)-4]+"AAAA"); status != 401 || code != "InvalidAuthenticationToken" {
		t.Errorf("another signature: %d %s", status, code)
	}
	i.rotate(t)
	if status, code, _ := ask(t, s, i.token(t, audience)); status != 200 {
		t.Errorf("after a rotation of keys: %d %s", status, code)
	}
	if status, code, _ := ask(t, s, token); status != 401 || code != "InvalidAuthenticationToken" {
		t.Errorf("a token under a key that the issuer took back: %d %s", status, code)
	}
}

func TestTenantAndPersonOfAnIssuerThatIsNotOurs(t *testing.T) {
	i := startIssuer(t)
	cfg := federation.Config{Issuer: i.url, Audiences: []string{audience}, Tenant: "our-tenant", AllowHTTP: true}
	if status, code, _ := ask(t, server(t, cfg), i.token(t, audience)); status != 401 || code != "InvalidAuthenticationTokenTenant" {
		t.Errorf("of another tenant: %d %s", status, code)
	}
	cfg.Tenant, cfg.ObjectIDs = "", federation.FromIssuer
	s := server(t, cfg)
	give(t, s, "aaaaaaaa-0000-0000-0000-000000000001", "User")
	if status, code, _ := ask(t, s, i.token(t, audience)); status != 200 {
		t.Errorf("with a role for the issuer's own id: %d %s", status, code)
	}
}
