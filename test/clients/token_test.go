package clients_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/shellword"
)

// token has a machine ask for a token of its identity, from inside, and does with it
// what the identity may: its role on a gallery shares the gallery's images with it, and
// nothing else.
func (s *suite) token(t *testing.T, name string, inside func(string) string) {
	s.expect(t, "", "systemAssignedIdentity", "vm", "identity", "show", "-g", "web", "-n", name)
	principal := s.az.Query(t, "systemAssignedIdentity", "vm", "identity", "assign", "-g", "web", "-n", name)
	s.expect(t, principal, "principalId", "vm", "identity", "show", "-g", "web", "-n", name)
	gallery, _, _ := strings.Cut(s.golden, "/images/")
	s.az.Run(t, "role", "assignment", "create", "--assignee-object-id", principal, "--assignee-principal-type", "ServicePrincipal", "--role", "Compute Gallery Image Reader", "--scope", gallery)

	ask := fmt.Sprintf(`exec 3<>/dev/tcp/169.254.169.254/80
printf 'GET /metadata/identity/oauth2/token?api-version=2018-02-01&resource=%s HTTP/1.0\r\nHost: 169.254.169.254\r\n%%s\r\n' "$1" >&3
cat <&3`, strings.ReplaceAll(url.QueryEscape(s.endpoint.Endpoint+"/"), "%", "%%"))
	says := func(header string) string {
		return inside("bash -c " + shellword.Quote(ask) + " - " + shellword.Quote(header))
	}
	if got := says(""); !strings.Contains(got, " 400 ") {
		t.Errorf("without the header Metadata, the answer is %q", got)
	}
	_, body, _ := strings.Cut(says("Metadata: true\r\n"), "\r\n\r\n")
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("%v: %.200s", err, body)
	}
	for path, want := range map[string]int{s.golden: 200, gallery + "/images": 200, gallery: 403, // the role has no right to the gallery itself
		"/subscriptions/" + s.endpoint.Subscription + "/resourceGroups/web/providers/Microsoft.Compute/virtualMachines/" + name: 403} {
		if got := s.status(t, path, answer.Token); got != want {
			t.Errorf("with the machine's token, GET %s is answered with %d, want %d", path, got, want)
		}
	}
	s.az.Run(t, "vm", "identity", "remove", "-g", "web", "-n", name)
	if got := says("Metadata: true\r\n"); !strings.Contains(got, "Identity not found") {
		t.Errorf("without an identity, the answer is %q", got)
	}
}

func (s *suite) status(t *testing.T, path, token string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.endpoint.Endpoint+path+"?api-version=2024-07-01", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	answer, err := s.endpoint.Options.Transport.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}
