package managedidentity_test

import (
	"encoding/json"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/managedidentity"
)

const version = "?api-version=2023-01-31"

func start(t *testing.T) *providertest.Server {
	t.Helper()
	thing := provider.Provider{Types: []provider.ResourceType{{Type: "Test.Things/things", Scopes: provider.AtResourceGroup, APIVersions: []string{"2023-01-31"}, Identity: true}}}
	return providertest.Start(t, providertest.With(thing, managedidentity.New(managedidentity.Config{TenantID: "t"})))
}

func thing(name string) string {
	return providertest.Group().Resource("Test.Things/things", name).String()
}

func put(t *testing.T, s *providertest.Server, token, path, body string, want int) json.RawMessage {
	t.Helper()
	status, _, answer := s.DoAs(t, token, "PUT", path+version, body)
	if status != want && (want != 200 || status != 201) {
		t.Fatalf("%s: %d %s", path, status, answer)
	}
	return answer
}

func there(t *testing.T, s *providertest.Server, objectID string) bool {
	t.Helper()
	all, err := s.Directory.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all.Kind(objectID) == directory.KindServicePrincipal
}

func TestAPrincipalComesAndGoesWithItsResource(t *testing.T) {
	s := start(t)
	answer := put(t, s, "", thing("a"), `{"identity":{"type":"SystemAssigned","principalId":"11111111-1111-1111-1111-111111111111"}}`, 200)
	id := arm.GetString(answer, "identity.principalId")
	if id == "" || strings.HasPrefix(id, "1111") || arm.GetString(answer, "identity.tenantId") != s.TenantID || !there(t, s, id) {
		t.Fatalf("%s", answer)
	}
	for _, body := range []string{`{}`, `{"identity":{"type":"systemassigned"}}`} { // it stays the same
		if answer := put(t, s, "", thing("a"), body, 200); arm.GetString(answer, "identity.principalId") != id {
			t.Errorf("%s: %s", body, answer)
		}
	}
	res, err := arm.ParseID(thing("a"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Directory.OfResource(t.Context(), res, id)
	if err != nil {
		t.Fatal(err)
	}
	s.Give(t, id, "Reader", providertest.Group())
	if _, err := s.Client.As(p).Get(t.Context(), res); err != nil {
		t.Errorf("acting as the identity: %v", err)
	}
	if _, err := s.Client.As(p).Put(t.Context(), res, map[string]any{}); err == nil {
		t.Error("a reader's identity wrote")
	}
	if _, err := s.Directory.OfResource(t.Context(), providertest.Group(), id); err == nil {
		t.Error("the identity of another resource")
	}
	put(t, s, "", thing("a"), `{"identity":{"type":"None"}}`, 200)
	if there(t, s, id) {
		t.Error("the principal is there, and the identity is gone")
	}
	again := arm.GetString(put(t, s, "", thing("a"), `{"identity":{"type":"SystemAssigned"}}`, 200), "identity.principalId")
	if again == id {
		t.Error("a new identity has the rights of the old one")
	}
	if status, _, _ := s.Do(t, "DELETE", thing("a")+version, nil); status != 200 || there(t, s, again) {
		t.Errorf("after the delete: %d", status)
	}
	for _, bad := range []string{`{"identity":{"type":"Root"}}`, `{"identity":{"type":"UserAssigned"}}`, `{"identity":7}`, `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"/x":{}}}}`} {
		put(t, s, "", thing("b"), bad, 400)
	}
}

func TestUserAssigned(t *testing.T) {
	s := start(t)
	id := providertest.Group().Resource(provider.TypeUserAssigned, "deployer").String()
	made := put(t, s, "", id, `{"location":"local"}`, 200)
	principal, client := arm.GetString(made, "properties.principalId"), arm.GetString(made, "properties.clientId")
	if !there(t, s, principal) || client == "" || arm.GetString(put(t, s, "", id, `{"location":"local","tags":{"a":"b"}}`, 200), "properties.principalId") != principal {
		t.Fatalf("%s", made)
	}
	body := `{"identity":{"type":"SystemAssigned, UserAssigned","userAssignedIdentities":{"` + strings.ToLower(id) + `":{}}}}`
	token, p := s.TokenFor(t, "", arm.Tenant)
	s.Give(t, p.ObjectID, "Compute Gallery Artifacts Publisher", providertest.Group())
	contributor, _ := s.TokenFor(t, "Contributor", mustParse(t, thing("a")))
	put(t, s, contributor, thing("a"), body, 403)
	put(t, s, token, thing("a"), body, 403)
	answer := put(t, s, "", thing("a"), body, 200)
	raw, _ := arm.Get(answer, "identity.userAssignedIdentities")
	if !strings.Contains(string(raw), `"`+id+`":{"principalId":"`+principal+`","clientId":"`+client+`"}`) {
		t.Errorf("%s", answer)
	}
	put(t, s, contributor, thing("a"), body, 200) // keeps what is there
	s.Do(t, "DELETE", id+version, nil)
	if there(t, s, principal) {
		t.Error("the principal outlived its identity")
	}
	put(t, s, "", thing("c"), body, 404)
}

func mustParse(t *testing.T, text string) arm.ID {
	t.Helper()
	id, err := arm.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// A type that stores what clients send may not be a way to remove somebody's principal.
func TestADocumentCannotRemoveAnothersPrincipal(t *testing.T) {
	s := start(t)
	id := arm.GetString(put(t, s, "", thing("a"), `{"identity":{"type":"SystemAssigned"}}`, 200), "identity.principalId")
	group := arm.ResourceGroupID(providertest.Subscription, "other").String()
	if status, _, answer := s.Do(t, "PUT", group+"?api-version=2021-04-01", `{"location":"local","identity":{"principalId":"`+id+`"}}`); status != 201 {
		t.Fatalf("%d %s", status, answer)
	}
	s.Do(t, "DELETE", group+"?api-version=2021-04-01", nil)
	s.Settle(t)
	if !there(t, s, id) {
		t.Error("it is gone")
	}
}
