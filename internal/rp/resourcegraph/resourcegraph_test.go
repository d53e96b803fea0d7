package resourcegraph_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resourcegraph/armresourcegraph"
	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/compliance"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/rp/managementgroups"
	"hallmark.dev/hallmark/internal/rp/resourcegraph"
	"hallmark.dev/hallmark/internal/store"
	"hallmark.dev/hallmark/internal/store/mem"
	"hallmark.dev/hallmark/internal/store/sqlite"
)

func tracked(t arm.Type) provider.ResourceType {
	return provider.ResourceType{Type: t, Scopes: provider.AtResourceGroup, APIVersions: []string{"2024-07-01"}, Location: provider.LocationRequired, Tags: true}
}

// start is a control plane on a store, with an engine of compliance.
func start(t testing.TB, s store.Store) *providertest.Server {
	index := assignment.New(s, nil)
	engine := compliance.New(compliance.Config{Store: s, Index: index})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the engine: %v", err)
		}
	})
	types := provider.Provider{Types: []provider.ResourceType{tracked("Microsoft.Compute/virtualMachines"), tracked("Microsoft.Network/virtualNetworks")}}
	return providertest.Start(t, providertest.WithStore(s), providertest.WithAdmitter(admission.New(admission.Config{Store: s, Index: index})),
		providertest.With(types, authorization.New(authorization.Config{TenantID: "t"}), managementgroups.New(managementgroups.Config{TenantID: "t"}),
			resourcegraph.New(resourcegraph.Config{TenantID: "t", Engine: engine})))
}

func put(t *testing.T, s *providertest.Server, path, body string) {
	t.Helper()
	if status, _, answer := s.Do(t, "PUT", providertest.Query(path, "2024-07-01"), body); status != 200 && status != 201 {
		t.Fatalf("PUT %s: %d: %s", path, status, answer)
	}
}

const subscription = "/subscriptions/" + providertest.Subscription

func estate(t *testing.T, st store.Store) *providertest.Server {
	s := start(t, st)
	put(t, s, subscription+"/resourceGroups/Prod", `{"location":"north","tags":{"stage":"prod"}}`)
	for i, name := range []string{"web1", "web2", "Db1"} {
		group := []string{"rg", "Prod", "Prod"}[i]
		put(t, s, subscription+"/resourceGroups/"+group+"/providers/Microsoft.Compute/virtualMachines/"+name,
			fmt.Sprintf(`{"location":%q,"tags":{"team":"Blue"},"zones":["1"],"properties":{"hardwareProfile":{"vmSize":"Standard_D%d"},"n":%d}}`, []string{"local", "north", "north"}[i], i%2+1, i))
	}
	put(t, s, subscription+"/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/net", `{"location":"local","properties":{}}`)
	s.Settle(t)
	return s
}

// ask is the rows that a query answers, as lines of JSON.
func ask(t *testing.T, s *providertest.Server, token, query string) string {
	t.Helper()
	status, _, body := s.DoAs(t, token, "POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", map[string]any{"query": query})
	var a struct {
		TotalRecords, Count int
		Data                []json.RawMessage
	}
	if err := json.Unmarshal(body, &a); err != nil || status != 200 || a.Count != len(a.Data) {
		t.Fatalf("%s: %d, %v: %s", query, status, err, body)
	}
	return string(bytes.Join(raws(a.Data), []byte("\n")))
}

func raws(in []json.RawMessage) (out [][]byte) {
	for _, r := range in {
		out = append(out, r)
	}
	return out
}

func stores(t *testing.T, test func(t *testing.T, s *providertest.Server)) {
	t.Run("mem", func(t *testing.T) { test(t, estate(t, mem.New())) })
	t.Run("sqlite", func(t *testing.T) {
		st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "s.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = st.Close() })
		test(t, estate(t, st))
	})
}

func TestTablesShowWhatThereIs(t *testing.T) {
	stores(t, func(t *testing.T, s *providertest.Server) {
		for query, want := range map[string]string{
			"Resources | where type =~ 'Microsoft.Compute/virtualMachines' | project name, type, location, resourceGroup, size=properties.hardwareProfile.vmSize | order by name asc": `{"name":"Db1","type":"microsoft.compute/virtualmachines","location":"north","resourceGroup":"prod","size":"Standard_D1"}
{"name":"web1","type":"microsoft.compute/virtualmachines","location":"local","resourceGroup":"rg","size":"Standard_D1"}
{"name":"web2","type":"microsoft.compute/virtualmachines","location":"north","resourceGroup":"prod","size":"Standard_D2"}`,
			"Resources | where name == 'web2' | project id, subscriptionId, tags, zones, kind, sku, tenantId":                                 `{"id":"` + subscription + `/resourceGroups/Prod/providers/Microsoft.Compute/virtualMachines/web2","subscriptionId":"` + providertest.Subscription + `","tags":{"team":"Blue"},"zones":["1"],"kind":"","sku":null,"tenantId":"t"}`,
			"Resources | where resourceGroup =~ 'PROD' and location == 'north' | summarize count() by type":                                   `{"type":"microsoft.compute/virtualmachines","count_":2}`,
			"Resources | where name =~ 'DB1' and properties.n > 1 | project name":                                                             `{"name":"Db1"}`,
			"Resources | where id =~ '" + subscription + "/resourcegroups/rg/providers/microsoft.network/virtualnetworks/NET' | project name": `{"name":"net"}`,
			"Resources | where subscriptionId == 'nowhere' | count":                                                                           `{"Count":0}`,
			"ResourceContainers | where type == 'microsoft.resources/subscriptions/resourcegroups' | project name, resourceGroup, tags.stage | order by name asc": `{"name":"Prod","resourceGroup":"prod","tags_stage":"prod"}
{"name":"rg","resourceGroup":"rg","tags_stage":null}`,
			"ResourceContainers | where type == 'microsoft.resources/subscriptions' | project name, properties.state": `{"name":"Test","properties_state":"Enabled"}`,
			"GuestConfigurationResources | count":                      `{"Count":0}`,
			"resources | union resourcecontainers | summarize count()": `{"count_":7}`,
		} {
			if diff := cmp.Diff(want, ask(t, s, "", query)); diff != "" {
				t.Errorf("%s (-want +got)\n%s", query, diff)
			}
		}
	})
}

// TestPagesAreCutOfTheWhole asks for all columns: the rows of the page are read with
// their bodies, those before and behind without.
func TestPagesAreCutOfTheWhole(t *testing.T) {
	stores(t, func(t *testing.T, s *providertest.Server) {
		page := func(query string, skip, top int) (rows []string, total int) {
			status, _, body := s.Do(t, "POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", map[string]any{"query": query, "options": map[string]any{"$skip": skip, "$top": top}})
			var a struct {
				TotalRecords int
				Data         []json.RawMessage
			}
			if err := json.Unmarshal(body, &a); err != nil || status != 200 {
				t.Fatalf("%d, %v: %s", status, err, body)
			}
			for _, d := range a.Data {
				rows = append(rows, string(d))
			}
			return rows, a.TotalRecords
		}
		for query, want := range map[string]int{"Resources": 4, "Resources | where name startswith 'web'": 2, "Resources | union ResourceContainers": 7,
			"Resources | where type =~ 'microsoft.network/virtualnetworks'": 1} {
			whole, _ := page(query, 0, 1000)
			if len(whole) != want || strings.Contains(strings.Join(whole, ""), `"properties":null`) {
				t.Fatalf("%s: %d rows: %s", query, len(whole), whole)
			}
			for skip := range want + 1 {
				for top := 1; top <= want+1; top++ {
					rows, total := page(query, skip, top)
					if diff := cmp.Diff(strings.Join(whole[skip:min(skip+top, want)], "\n"), strings.Join(rows, "\n")); diff != "" || total != want {
						t.Errorf("%s, %d from %d, %d in all (-want +got)\n%s", query, top, skip, total, diff)
					}
				}
			}
		}
	})
}

func TestPolicyStatesFollowTheEngine(t *testing.T) {
	s := estate(t, mem.New())
	def := subscription + "/providers/Microsoft.Authorization/policyDefinitions/sizes"
	put(t, s, def, `{"properties":{"mode":"Indexed","policyRule":{"if":{"allOf":[{"field":"type","equals":"Microsoft.Compute/virtualMachines"},{"field":"name","like":"web*"}]},"then":{"effect":"audit"}}}}`)
	put(t, s, subscription+"/providers/Microsoft.Authorization/policyAssignments/sizes", `{"properties":{"policyDefinitionId":"`+def+`"}}`)
	got := ask(t, s, "", "policyresources | where type =~ 'microsoft.policyinsights/policystates' | extend state = tostring(properties.complianceState) | summarize n = count(), names = make_set(split(tostring(properties.resourceId), '/')[8]) by state, tostring(properties.policyAssignmentName) | order by state asc")
	want := `{"state":"Compliant","properties_policyAssignmentName":"sizes","n":1,"names":["Db1"]}
{"state":"NonCompliant","properties_policyAssignmentName":"sizes","n":2,"names":["web2","web1"]}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := ask(t, s, "", "PolicyResources | where type == 'microsoft.authorization/policyassignments' | project name, properties.policyDefinitionId"); got != `{"name":"sizes","properties_policyDefinitionId":"`+def+`"}` {
		t.Error(got)
	}
}

func TestNobodySeesMoreThanTheyMayRead(t *testing.T) {
	stores(t, func(t *testing.T, s *providertest.Server) {
		group, _ := s.TokenFor(t, "Reader", arm.ResourceGroupID(providertest.Subscription, "rg"))
		machine, err := arm.ParseID(subscription + "/resourceGroups/Prod/providers/Microsoft.Compute/virtualMachines/web2")
		if err != nil {
			t.Fatal(err)
		}
		one, _ := s.TokenFor(t, "Reader", machine)
		nobody, _ := s.TokenFor(t, "", arm.Tenant)
		const names = "Resources | union ResourceContainers | order by name asc | summarize make_list(name)"
		for who, c := range map[string]struct{ token, want string }{
			"a group's reader": {group, `["Test","net","rg","web1"]`}, "a machine's reader": {one, `["Test","web2"]`}, "nobody": {nobody, `[]`},
		} {
			if got := ask(t, s, c.token, names); got != `{"list_name":`+c.want+`}` {
				t.Errorf("%s sees %s", who, got)
			}
		}
		status, _, body := s.DoAs(t, nobody, "POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", map[string]any{"query": "Resources", "subscriptions": []string{providertest.Subscription}})
		if status != 400 || !bytes.Contains(body, []byte("NoValidSubscriptionsInQueryRequest")) {
			t.Errorf("%d: %s", status, body)
		}
	})
}

func TestErrorsHaveTheServicesShape(t *testing.T) {
	s := start(t, mem.New())
	for body, want := range map[string]string{
		`{"query":"Resources\n| join (Others) on id"}`:           `"details":[{"code":"InvalidQuery","message":"Query is invalid. See docs/graph.md for the language, and the other detail for the place."},{"code":"InvalidQueryLanguage","message":"the operator 'join' is not supported","line":2,"characterPositionInLine":2,"token":"join"}]`,
		`{"query":"Resources | where"}`:                          `"code":"ParserFailure","message":"found the end of the query where a value is expected","line":1,"characterPositionInLine":17`,
		`{"query":" "}`:                                          `"target":"query"`,
		`{"query":1}`:                                            `"InvalidRequestContent"`,
		`{"query":"Resources","options":{"$top":0}}`:             `"options.$top"`,
		`{"query":"Resources","options":{"$skip":-1}}`:           `"options.$skip"`,
		`{"query":"Resources","options":{"$skipToken":"x"}}`:     `"InvalidSkipToken"`,
		`{"query":"Resources","options":{"resultFormat":"csv"}}`: `"options.resultFormat"`,
		`{"query":"Resources","managementGroups":["a/b"]}`:       `"AuthorizationFailed"`,
		`{"query":"Resources","subscriptions":["x"]}`:            `"NoValidSubscriptionsInQueryRequest"`,
	} {
		status, _, answer := s.Do(t, "POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2021-03-01", body)
		if status != 400 && status != 403 || !strings.Contains(string(answer), want) {
			t.Errorf("%s: %d: %s", body, status, answer)
		}
	}
}

func TestTheSDKAsksAndPages(t *testing.T) {
	s := estate(t, mem.New())
	client, err := armresourcegraph.NewClient(s.Credential, s.Options)
	if err != nil {
		t.Fatal(err)
	}
	request := armresourcegraph.QueryRequest{Query: to.Ptr("Resources | project name | order by name asc"), Subscriptions: []*string{to.Ptr(providertest.Subscription)},
		Options: &armresourcegraph.QueryRequestOptions{Top: to.Ptr[int32](3), ResultFormat: to.Ptr(armresourcegraph.ResultFormatObjectArray)}}
	var names []string
	for {
		page, err := client.Resources(t.Context(), request, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range page.Data.([]any) {
			names = append(names, row.(map[string]any)["name"].(string))
		}
		if *page.TotalRecords != 4 || *page.ResultTruncated != armresourcegraph.ResultTruncatedFalse {
			t.Errorf("%d records, truncated %s", *page.TotalRecords, *page.ResultTruncated)
		}
		if page.SkipToken == nil {
			break
		}
		request.Options.SkipToken = page.SkipToken
	}
	if diff := cmp.Diff([]string{"Db1", "net", "web1", "web2"}, names); diff != "" {
		t.Error(diff)
	}
	request = armresourcegraph.QueryRequest{Query: to.Ptr("Resources | summarize n=count(), last=max(name) by location | order by location asc"),
		Options: &armresourcegraph.QueryRequestOptions{ResultFormat: to.Ptr(armresourcegraph.ResultFormatTable)}}
	page, err := client.Resources(t.Context(), request, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"columns": []any{map[string]any{"name": "location", "type": "string"}, map[string]any{"name": "n", "type": "integer"}, map[string]any{"name": "last", "type": "string"}},
		"rows": []any{[]any{"local", 2.0, "web1"}, []any{"north", 2.0, "web2"}}}
	if diff := cmp.Diff(any(want), page.Data); diff != "" {
		t.Error(diff)
	}
	if _, err := client.Resources(t.Context(), armresourcegraph.QueryRequest{Query: to.Ptr("Resources | frob")}, nil); err == nil || !strings.Contains(err.Error(), "ParserFailure") {
		t.Errorf("a wrong query: %v", err)
	}
}

// TestTheDocumentsExamplesRun runs what docs/graph.md shows.
func TestTheDocumentsExamplesRun(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/graph.md")
	if err != nil {
		t.Fatal(err)
	}
	s := estate(t, mem.New())
	blocks := strings.Split(string(raw), "```kusto\n")[1:]
	if len(blocks) < 7 {
		t.Fatalf("%d examples", len(blocks))
	}
	for _, b := range blocks {
		query, _, _ := strings.Cut(b, "```")
		ask(t, s, "", query)
	}
	for name := range strings.FieldsSeq("join lookup mv-expand mv-apply parse evaluate render search find make-series sample") {
		if status, _, body := s.Do(t, "POST", "/providers/Microsoft.ResourceGraph/resources?api-version=2022-10-01", map[string]any{"query": "Resources | " + name + " x"}); status != 400 || !strings.Contains(string(body), `"token":"`+name+`"`) {
			t.Errorf("%s: %d: %s", name, status, body)
		}
	}
}
