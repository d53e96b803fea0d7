package metadata_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/directory"
	"hallmark.dev/hallmark/internal/metadata"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/managedidentity"
)

const version = "?api-version=2023-01-31"

// world is a server with a machine m at 10.0.0.4 and an instance of a scale set at
// 10.0.0.5, as far as the service looks at them.
type world struct {
	*providertest.Server
	http.Handler
}

func start(t *testing.T) world {
	t.Helper()
	typ := func(name arm.Type, identity bool) provider.ResourceType {
		t := provider.ResourceType{Type: name, APIVersions: []string{"2023-01-31"}, Identity: identity, CascadeDelete: true}
		if _, child := name.Parent(); !child {
			t.Scopes = provider.AtResourceGroup
		}
		return t
	}
	types := provider.Provider{Types: []provider.ResourceType{typ("Microsoft.Compute/virtualMachines", true), typ("Microsoft.Compute/virtualMachineScaleSets", true),
		typ("Microsoft.Compute/virtualMachineScaleSets/virtualMachines", false), typ("Microsoft.Network/networkInterfaces", false)}}
	s := providertest.Start(t, providertest.With(types, managedidentity.New(managedidentity.Config{TenantID: "t"})))
	w := world{s, metadata.New(metadata.Config{Store: s.Store, Directory: s.Directory, Issuer: s.Issuer(), URL: s.URL})}
	w.put(t, id("Microsoft.Compute/virtualMachines", "m"), `{}`)
	w.put(t, id("Microsoft.Compute/virtualMachineScaleSets", "set"), `{"identity":{"type":"SystemAssigned"}}`)
	w.put(t, id("Microsoft.Compute/virtualMachineScaleSets", "set")+"/virtualMachines/0", `{}`)
	for address, vm := range map[string]string{"10.0.0.4": id("Microsoft.Compute/virtualMachines", "m"), "10.0.0.5": id("Microsoft.Compute/virtualMachineScaleSets", "set") + "/virtualMachines/0"} {
		w.put(t, id("Microsoft.Network/networkInterfaces", "n"+address), `{"properties":{"virtualMachine":{"id":"`+vm+`"},"ipConfigurations":[{"properties":{"privateIPAddress":"`+address+`"}}]}}`)
	}
	return w
}

func id(typ arm.Type, name string) string { return providertest.Group().Resource(typ, name).String() }

func (w world) put(t *testing.T, path, body string) json.RawMessage {
	t.Helper()
	status, _, answer := w.Do(t, "PUT", path+version, body)
	if status != 200 && status != 201 {
		t.Fatalf("%s: %d %s", path, status, answer)
	}
	return answer
}

func (w world) ask(from string, query url.Values, header ...string) (int, map[string]string) {
	r := httptest.NewRequest("GET", "/metadata/identity/oauth2/token?"+query.Encode(), nil)
	r.RemoteAddr = from + ":4711"
	if len(header) == 0 {
		header = []string{"Metadata", "true"}
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	var m map[string]string
	_ = json.Unmarshal(rec.Body.Bytes(), &m)
	return rec.Code, m
}

func (w world) resource() url.Values {
	return url.Values{"resource": {w.URL + "/"}, "api-version": {"2018-02-01"}}
}

func TestAMachineActsAsItsIdentityAndNobodyElse(t *testing.T) {
	w := start(t)
	if status, m := w.ask("10.0.0.4", w.resource()); status != 400 || !strings.Contains(m["error_description"], "Identity not found") {
		t.Errorf("without an identity: %d %v", status, m)
	}
	made := w.put(t, id("Microsoft.Compute/virtualMachines", "m"), `{"identity":{"type":"SystemAssigned"}}`)
	principal := arm.GetString(made, "identity.principalId")
	w.Give(t, principal, "Reader", providertest.Group())
	status, m := w.ask("10.0.0.4", w.resource())
	if status != 200 || m["client_id"] != directory.ClientID(principal) || m["token_type"] != "Bearer" || m["expires_on"] == "" {
		t.Fatalf("%d %v", status, m)
	}
	if status, _, answer := w.DoAs(t, m["access_token"], "GET", providertest.Group().String()+version, nil); status != 200 {
		t.Errorf("with its token: %d %s", status, answer)
	}
	if status, _, _ := w.DoAs(t, m["access_token"], "DELETE", providertest.Group().String()+version, nil); status != 403 {
		t.Errorf("a reader deleted: %d", status)
	}
	if status, m := w.ask("10.0.0.9", w.resource()); status != 403 {
		t.Errorf("from an address that no machine has: %d %v", status, m)
	}
	token := m["access_token"]
	w.put(t, id("Microsoft.Compute/virtualMachines", "m"), `{"identity":{"type":"None"}}`)
	if status, _, _ := w.DoAs(t, token, "GET", providertest.Group().String()+version, nil); status != 403 {
		t.Errorf("with a token of an identity that is gone: %d", status)
	}
	if status, m := w.ask("10.0.0.4", w.resource()); status != 400 {
		t.Errorf("after it was taken away: %d %v", status, m)
	}
	if status, m := w.ask("10.0.0.5", w.resource()); status != 200 || m["access_token"] == "" {
		t.Errorf("an instance of a scale set: %d %v", status, m)
	}
}

func TestUserAssignedIdentitiesAreChosen(t *testing.T) {
	w := start(t)
	one, two := id(provider.TypeUserAssigned, "one"), id(provider.TypeUserAssigned, "two")
	clients := map[string]string{}
	for _, i := range []string{one, two} {
		clients[i] = arm.GetString(w.put(t, i, `{"location":"local"}`), "properties.clientId")
	}
	w.put(t, id("Microsoft.Compute/virtualMachines", "m"), `{"identity":{"type":"UserAssigned","userAssignedIdentities":{"`+one+`":{},"`+two+`":{}}}}`)
	if status, m := w.ask("10.0.0.4", w.resource()); status != 400 || !strings.Contains(m["error_description"], "Multiple") {
		t.Errorf("of two: %d %v", status, m)
	}
	for key, value := range map[string]string{"client_id": clients[two], "msi_res_id": strings.ToUpper(two)} {
		q := w.resource()
		q.Set(key, value)
		if status, m := w.ask("10.0.0.4", q); status != 200 || m["client_id"] != clients[two] {
			t.Errorf("by %s: %d %v", key, status, m)
		}
	}
	q := w.resource()
	q.Set("client_id", "another")
	if status, m := w.ask("10.0.0.4", q); status != 400 {
		t.Errorf("one that it has not: %d %v", status, m)
	}
}

func TestWhatIsRefused(t *testing.T) {
	w := start(t)
	w.put(t, id("Microsoft.Compute/virtualMachines", "m"), `{"identity":{"type":"SystemAssigned"}}`)
	for name, header := range map[string][]string{"no header": {"X", "y"}, "through a proxy": {"Metadata", "true", "X-Forwarded-For", "1.2.3.4"}} {
		if status, m := w.ask("10.0.0.4", w.resource(), header...); status != 400 || m["access_token"] != "" {
			t.Errorf("%s: %d %v", name, status, m)
		}
	}
	for _, resource := range []string{"", "https://vault.azure.net/", "http://management.azure.com/", w.URL + "/other", "::"} {
		if status, m := w.ask("10.0.0.4", url.Values{"resource": {resource}}); status != 400 || m["error"] != "invalid_resource" {
			t.Errorf("%q: %d %v", resource, status, m)
		}
	}
	limited := 0
	for range 40 {
		if status, _ := w.ask("10.0.0.4", w.resource()); status == http.StatusTooManyRequests {
			limited++
		}
	}
	if status, _ := w.ask("10.0.0.5", w.resource()); limited == 0 || status != 200 {
		t.Errorf("%d of 40 were too many; another machine got %d", limited, status)
	}
}

// az asks as it does on a machine in Azure; the connection comes from the machine.
func TestAzureCLI(t *testing.T) {
	w := start(t)
	made := w.put(t, id("Microsoft.Compute/virtualMachines", "m"), `{"identity":{"type":"SystemAssigned"}}`)
	w.Give(t, arm.GetString(made, "identity.principalId"), "Reader", arm.SubscriptionID(providertest.Subscription))
	service := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		r.RemoteAddr = "10.0.0.4:4711"
		w.ServeHTTP(rw, r)
	}))
	t.Cleanup(service.Close)
	az := providertest.AzureCLI(t, w.Server).With("AZURE_POD_IDENTITY_AUTHORITY_HOST=" + service.URL)
	az.Run(t, "login", "--identity")
	if got := az.Query(t, "[].name", "group", "list"); len(got) != 1 || got[0] != providertest.ResourceGroup {
		t.Errorf("%v", got)
	}
	if out, code := az.Try(t, "group", "create", "-n", "x", "-l", providertest.Location); code == 0 || !strings.Contains(out, "AuthorizationFailed") {
		t.Errorf("%d %s", code, out)
	}
}
