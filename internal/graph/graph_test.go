package graph_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"hallmark.dev/hallmark/internal/access"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/roles"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
)

const root = "/graph/v1.0"

func start(t *testing.T) *providertest.Server {
	t.Helper()
	s := mem.New()
	return providertest.Start(t, providertest.WithStore(s), providertest.With(roles.New(roles.Config{Index: access.New(s)})))
}

func call(t *testing.T, s *providertest.Server, token, method, path string, body any, want int) map[string]any {
	t.Helper()
	status, _, raw := s.DoAs(t, token, method, root+path, body)
	if status != want {
		t.Fatalf("%s %s: %d %s", method, path, status, raw)
	}
	var m map[string]any
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
	}
	return m
}

func count(t *testing.T, s *providertest.Server, path, filter string) int {
	t.Helper()
	list, _ := call(t, s, "", "GET", path+"?$filter="+url.QueryEscape(filter), nil, 200)["value"].([]any)
	return len(list)
}

func TestAnApplicationComesAndGoes(t *testing.T) {
	s := start(t)
	app := call(t, s, "", "POST", "/applications", `{"displayName":"deployer"}`, 201)
	id, appID := app["id"].(string), app["appId"].(string)
	secret := call(t, s, "", "POST", "/applications/"+id+"/addPassword", `{"passwordCredential":{"displayName":"rbac"}}`, 200)
	text, _ := secret["secretText"].(string)
	if text == "" || secret["endDateTime"] == nil {
		t.Fatalf("%v", secret)
	}
	if shown := call(t, s, "", "GET", "/applications/"+id, nil, 200); strings.Contains(fmt.Sprint(shown), text) || !strings.Contains(fmt.Sprint(shown), secret["keyId"].(string)) {
		t.Errorf("shown: %v", shown)
	}
	signIn := func() int {
		form := url.Values{"client_id": {appID}, "client_secret": {text}, "grant_type": {"client_credentials"}, "scope": {s.URL + "//.default"}}
		resp, err := s.HTTP.PostForm(s.URL+"/adfs/oauth2/token", form)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if status := signIn(); status != 401 {
		t.Errorf("without a service principal: %d", status)
	}
	sp := call(t, s, "", "POST", "/servicePrincipals", `{"appId":"`+appID+`"}`, 201)
	call(t, s, "", "POST", "/servicePrincipals", `{"appId":"`+appID+`"}`, 409)
	call(t, s, "", "POST", "/servicePrincipals", `{"appId":"00000000-0000-0000-0000-000000000000"}`, 400)
	if status := signIn(); status != 200 {
		t.Errorf("with one: %d", status)
	}
	for filter, want := range map[string]int{
		"servicePrincipalNames/any(c:c eq '" + appID + "')": 1, "displayName eq 'Deployer'": 1, "startswith(displayName,'dep') and servicePrincipalType eq 'Application'": 1,
		"displayName eq 'other'": 0, "accountEnabled eq true": 2, "": 2,
	} {
		if got := count(t, s, "/servicePrincipals", filter); got != want {
			t.Errorf("%s: %d", filter, got)
		}
	}
	call(t, s, "", "GET", "/servicePrincipals?$filter=displayName%20gt%20'x'", nil, 400)
	byID := call(t, s, "", "POST", "/directoryObjects/getByIds", fmt.Sprintf(`{"ids":[%q,"x"],"types":["user","servicePrincipal"]}`, sp["id"]), 200)["value"].([]any)
	if len(byID) != 1 || byID[0].(map[string]any)["@odata.type"] != "#microsoft.graph.servicePrincipal" {
		t.Errorf("%v", byID)
	}
	call(t, s, "", "POST", "/applications/"+id+"/removePassword", `{"keyId":"`+secret["keyId"].(string)+`"}`, 204)
	if status := signIn(); status != 401 {
		t.Errorf("with a removed secret: %d", status)
	}
	call(t, s, "", "DELETE", "/applications/"+id, nil, 204)
	call(t, s, "", "GET", "/servicePrincipals/"+sp["id"].(string), nil, 404)
	events, err := store.List(t.Context(), s.Store, store.Query{Type: provider.EventType})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, e := range events {
		if a := arm.GetString(e.Private, "action"); strings.HasPrefix(a, "Microsoft.Graph/") {
			actions = append(actions, a)
		}
		if strings.Contains(string(e.Private), text) {
			t.Error("an audit event has the secret")
		}
	}
	if len(actions) != 5 {
		t.Errorf("audit events: %v", actions)
	}
}

func TestGroups(t *testing.T) {
	s := start(t)
	token, p := s.TokenFor(t, "", arm.Tenant)
	g := call(t, s, "", "POST", "/groups", `{"displayName":"ops","mailNickname":"ops","mailEnabled":false,"securityEnabled":true}`, 201)["id"].(string)
	if status, _, body := s.Do(t, "PUT", arm.SubscriptionID(providertest.Subscription).String()+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-0000000000aa?api-version=2022-04-01",
		`{"properties":{"roleDefinitionId":"/x/acdd72a7-3385-48ef-bd42-f606fba81ae7","principalId":"`+g+`","principalType":"Group"}}`); status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	may := func() bool {
		status, _, _ := s.DoAs(t, token, "GET", providertest.Group().String()+"?api-version=2021-04-01", nil)
		return status == 200
	}
	member := `{"@odata.id":"` + s.URL + root + `/directoryObjects/` + p.ObjectID + `"}`
	call(t, s, "", "POST", "/groups/"+g+"/members/$ref", member, 204)
	call(t, s, "", "POST", "/groups/"+g+"/members/$ref", member, 400)
	if !may() {
		t.Error("a member has not the group's role")
	}
	if got := call(t, s, "", "POST", "/directoryObjects/"+p.ObjectID+"/checkMemberGroups", `{"groupIds":["`+g+`"]}`, 200)["value"].([]any); len(got) != 1 {
		t.Errorf("%v", got)
	}
	if got := call(t, s, "", "GET", "/groups/"+g+"/members", nil, 200)["value"].([]any); len(got) != 1 {
		t.Errorf("%v", got)
	}
	call(t, s, "", "DELETE", "/groups/"+g+"/members/"+p.ObjectID+"/$ref", nil, 204)
	if may() {
		t.Error("a former member has the group's role")
	}
	call(t, s, "", "DELETE", "/groups/"+g, nil, 204)
	call(t, s, "", "GET", "/groups/"+g, nil, 404)
}

func TestWhoMayChangeTheDirectory(t *testing.T) {
	s := start(t)
	sub := arm.SubscriptionID(providertest.Subscription)
	for role, scope := range map[string]arm.ID{"Contributor": arm.Tenant, "Owner": sub, "Reader": arm.Tenant} {
		token, _ := s.TokenFor(t, role, scope)
		call(t, s, token, "GET", "/servicePrincipals", nil, 200)
		call(t, s, token, "POST", "/applications", `{"displayName":"x"}`, 403)
		for _, app := range call(t, s, token, "GET", "/applications", nil, 200)["value"].([]any) {
			call(t, s, token, "POST", "/applications/"+app.(map[string]any)["id"].(string)+"/addPassword", `{}`, 403)
		}
	}
	token, _ := s.TokenFor(t, "User Access Administrator", arm.Tenant)
	call(t, s, token, "POST", "/applications", `{"displayName":"x"}`, 201)
	for _, bad := range []string{``, `{`, `{}`, `{"displayName":""}`, `{"displayName":"x","keyCredentials":[{}]}`, `[]`} {
		call(t, s, token, "POST", "/applications", bad, 400)
	}
	call(t, s, "x.y.z", "GET", "/servicePrincipals", nil, 401)
	call(t, s, token, "GET", "/nothing", nil, 404)
}

func TestAzureCLI(t *testing.T) {
	s := start(t)
	az := providertest.AzureCLI(t, s)
	sub := "/subscriptions/" + providertest.Subscription
	expect := func(want string, got []string) {
		t.Helper()
		if g := strings.Join(got, " "); g != want {
			t.Errorf("got %q, want %q", g, want)
		}
	}
	made := az.Query(t, "[appId,password,tenant]", "ad", "sp", "create-for-rbac", "-n", "deployer", "--role", "Contributor", "--scopes", sub)
	if len(made) != 3 || made[2] != s.TenantID {
		t.Fatalf("%v", made)
	}
	expect("deployer", az.Query(t, "displayName", "ad", "sp", "show", "--id", made[0]))
	expect("Contributor "+made[0], az.Query(t, "[].[roleDefinitionName,principalName][]", "role", "assignment", "list", "--assignee", made[0]))
	expect("Owner", az.Query(t, "[].roleDefinitionName", "role", "assignment", "list", "--scope", sub, "--include-inherited", "--role", "Owner"))
	expect(sub, az.Query(t, "scope || properties.scope", "role", "assignment", "create", "--assignee", made[0], "--role", "Reader", "--scope", sub))
	az.Run(t, "role", "assignment", "delete", "--assignee", made[0], "--role", "Reader", "--scope", sub)
	expect("1", az.Query(t, "length(@)", "role", "assignment", "list", "--assignee", made[0], "--all"))

	group := az.Query(t, "id", "ad", "group", "create", "--display-name", "ops", "--mail-nickname", "ops")[0]
	sp := az.Query(t, "id", "ad", "sp", "show", "--id", made[0])[0]
	az.Run(t, "ad", "group", "member", "add", "-g", "ops", "--member-id", sp)
	expect("deployer", az.Query(t, "[].displayName", "ad", "group", "member", "list", "-g", group))
	expect("true", az.Query(t, "value", "ad", "group", "member", "check", "-g", group, "--member-id", sp))
	expect("Group", az.Query(t, "principalType || properties.principalType", "role", "assignment", "create", "--assignee-object-id", group, "--assignee-principal-type", "Group", "--role", "Virtual Machine Contributor", "--scope", providertest.Group().String()))
	expect("Virtual Machine Contributor Contributor", az.Query(t, "[].roleDefinitionName | reverse(sort(@))", "role", "assignment", "list", "--assignee", made[0], "--all", "--include-groups"))

	role := `{"Name":"Starter","Description":"starts machines","Actions":["Microsoft.Compute/virtualMachines/start/action"],"NotActions":[],"AssignableScopes":["` + sub + `"]}`
	expect("Starter", az.Query(t, "roleName || properties.roleName", "role", "definition", "create", "--role-definition", role))
	expect("Starter", az.Query(t, "[].roleName", "role", "definition", "list", "--custom-role-only"))
	expect("Microsoft.Compute/virtualMachines/start/action", az.Query(t, "[0].permissions[0].actions", "role", "definition", "list", "-n", "Starter"))
	az.Run(t, "role", "definition", "delete", "-n", "Starter")
	if out, code := az.Try(t, "role", "assignment", "create", "--assignee", made[0], "--role", "Starter", "--scope", sub); code == 0 || !strings.Contains(out, "doesn't exist") {
		t.Errorf("%d %s", code, out)
	}
	reset := az.Query(t, "password", "ad", "sp", "credential", "reset", "--id", made[0])
	az.Run(t, "login", "--service-principal", "-u", made[0], "-p", reset[0], "--tenant", s.TenantID)
	if out, code := az.Try(t, "role", "assignment", "create", "--assignee-object-id", sp, "--assignee-principal-type", "ServicePrincipal", "--role", "Owner", "--scope", sub); code == 0 || !strings.Contains(out, "AuthorizationFailed") {
		t.Errorf("a contributor made himself owner: %d %s", code, out)
	}
}
