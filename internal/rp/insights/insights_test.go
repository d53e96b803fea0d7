package insights_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/authorization"
	"hallmark.dev/hallmark/internal/rp/insights"
	"hallmark.dev/hallmark/internal/store/mem"
)

const subscription = "/subscriptions/" + providertest.Subscription

const canary = "hunter2-canary"

func start(t *testing.T) *providertest.Server {
	s := mem.New()
	index := assignment.New(s, nil)
	types := provider.Provider{Types: []provider.ResourceType{{Type: "Microsoft.Compute/virtualMachines", Scopes: provider.AtResourceGroup, APIVersions: []string{"2024-07-01"},
		Location: provider.LocationRequired, Tags: true, Validate: func(w *provider.Write) []*arm.Error {
			if text := arm.GetString(w.Doc.Body, "properties.secret"); text != "" {
				return []*arm.Error{arm.BadRequest("BadSecret", "properties.secret", "%s is no secret", text)}
			}
			return nil
		}, Reconcile: func(ctx context.Context, w *provider.Work) (time.Duration, error) {
			if len(w.Doc.Operations) == 0 {
				return 0, nil
			}
			return 0, w.Update(ctx, func(d *provider.Draft) { d.Succeed() })
		}}}}
	return providertest.Start(t, providertest.WithStore(s), providertest.WithAdmitter(admission.New(admission.Config{Store: s, Index: index})),
		providertest.With(types, authorization.New(authorization.Config{TenantID: "t"}), insights.New("t")))
}

type line struct {
	Caller, CorrelationID, ResourceID, Level string
	ResourceGroupName                        string
	Authorization                            struct{ Action, Scope string }
	OperationName, Status, SubStatus         struct{ Value string }
	Category, ResourceProviderName           struct{ Value string }
	HTTPRequest                              struct{ Method string }
	EventTimestamp                           time.Time
	Properties                               map[string]string
}

func logOf(t *testing.T, s *providertest.Server, token, filter string, more ...string) (lines []line, raw string) {
	t.Helper()
	target := providertest.Query(subscription+"/providers/microsoft.insights/eventtypes/management/values", "2015-04-01", append([]string{"$filter", filter}, more...)...)
	for target != "" {
		status, _, body := s.DoAs(t, token, "GET", target, nil)
		var page struct {
			Value    []line
			NextLink string
		}
		if err := json.Unmarshal(body, &page); err != nil || status != 200 {
			t.Fatalf("%d, %v: %s", status, err, body)
		}
		lines, raw, target = append(lines, page.Value...), raw+string(body), page.NextLink
	}
	return lines, raw
}

func (l line) String() string {
	return fmt.Sprintf("%s %s %s %s %s", l.Status.Value, l.OperationName.Value, l.ResourceID[strings.LastIndexByte(l.ResourceID, '/')+1:], l.SubStatus.Value, l.HTTPRequest.Method)
}

func vm(name string) string {
	return providertest.Query(subscription+"/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/"+name, "2024-07-01")
}

func TestTheLogTellsWhatWasDoneAndWhatWasRefused(t *testing.T) {
	s := start(t)
	def := subscription + "/providers/Microsoft.Authorization/policyDefinitions/no"
	s.Do(t, "PUT", providertest.Query(def, "2023-04-01"), `{"properties":{"mode":"Indexed","policyRule":{"if":{"field":"name","equals":"bad"},"then":{"effect":"deny"}}}}`)
	s.Do(t, "PUT", providertest.Query(subscription+"/providers/Microsoft.Authorization/policyAssignments/no", "2023-04-01"), `{"properties":{"policyDefinitionId":"`+def+`"}}`)
	reader, who := s.TokenFor(t, "Reader", providertest.Group())
	for _, c := range []struct {
		token, method, target, body string
		want                        int
	}{
		{"", "PUT", vm("a"), `{"location":"local"}`, 201}, {"", "PUT", vm("bad"), `{"location":"local"}`, 403}, {reader, "PUT", vm("b"), `{"location":"local"}`, 403},
		{"", "PUT", vm("c"), `{"location":"local","properties":{"secret":"` + canary + `"}}`, 400}, {reader, "GET", vm("a"), "", 200},
	} {
		if status, _, body := s.DoAs(t, c.token, c.method, c.target, c.body); status != c.want {
			t.Fatalf("%s %s: %d: %s", c.method, c.target, status, body)
		}
	}
	s.Settle(t)
	lines, raw := logOf(t, s, "", "eventTimestamp ge '2026-01-01T00:00:00Z' and eventTimestamp le '2999-01-01T00:00:00Z' and resourceProvider eq 'Microsoft.Compute'")
	got := map[string]bool{}
	for _, l := range lines {
		got[l.String()] = true
	}
	const write = "Microsoft.Compute/virtualMachines/write"
	for _, want := range []string{"Accepted " + write + " a Created PUT", "Succeeded " + write + " a  ", "Failed " + write + " bad Forbidden PUT", "Failed " + write + " b Forbidden PUT",
		"Failed " + write + " c BadRequest PUT", "Failed Microsoft.Authorization/policies/deny/action bad  "} {
		if !got[want] {
			t.Errorf("%q is not in the log: %v", want, lines)
		}
	}
	if len(lines) != 6 || strings.Contains(raw, canary) {
		t.Errorf("%d lines: %s", len(lines), raw)
	}
	for _, filter := range []string{"caller eq '" + who.ObjectID + "'", "resourceUri eq '" + subscription + "/resourceGroups/RG/providers/Microsoft.Compute/virtualMachines/B'", "status eq 'Failed' and caller eq '" + who.ObjectID + "' and resourceGroupName eq 'RG'"} {
		lines, _ := logOf(t, s, "", filter)
		if len(lines) != 1 || lines[0].Caller != who.ObjectID || lines[0].Properties["errorCode"] != arm.CodeAuthorizationFailed || lines[0].CorrelationID == "" || lines[0].Authorization.Action != write {
			t.Errorf("%s: %+v", filter, lines)
		}
	}
}

func TestTheLogIsFilteredPagedAndInOrder(t *testing.T) {
	s := start(t)
	for i := range 230 {
		s.Do(t, "PUT", providertest.Query(fmt.Sprintf(subscription+"/resourceGroups/g%d", i), "2021-04-01"), `{"location":"local"}`)
	}
	lines, _ := logOf(t, s, "", "")
	if len(lines) != 231 {
		t.Errorf("%d lines, want 231", len(lines))
	}
	for i := 1; i < len(lines); i++ {
		if lines[i].EventTimestamp.After(lines[i-1].EventTimestamp) {
			t.Fatal("the newest is not first")
		}
	}
	token, _ := s.TokenFor(t, "Reader", arm.ResourceGroupID(providertest.Subscription, "g7"))
	if lines, _ = logOf(t, s, token, ""); len(lines) != 1 || lines[0].ResourceGroupName != "g7" {
		t.Errorf("a group's reader sees %v", lines)
	}
	if lines, _ = logOf(t, s, "", "eventTimestamp le '2020-01-01T00:00:00Z'"); len(lines) != 0 {
		t.Errorf("of another time: %v", lines)
	}
	_, raw := logOf(t, s, "", "resourceGroupName eq 'g7'", "$select", "caller,status")
	var page struct{ Value []map[string]any }
	if err := json.Unmarshal([]byte(raw), &page); err != nil || len(page.Value) != 1 || len(page.Value[0]) != 2 {
		t.Errorf("selected: %s", raw)
	}
	for _, bad := range []string{"eventTimestamp ge 'x'", "nonsense", "caller ne 'x'", "caller eq 'x' and", "caller eq 'x' or status eq 'y'"} {
		status, _, body := s.Do(t, "GET", providertest.Query(subscription+"/providers/Microsoft.Insights/eventtypes/management/values", "2015-04-01", "$filter", bad), nil)
		if status != 400 || !strings.Contains(string(body), "$filter") {
			t.Errorf("%s: %d: %s", bad, status, body)
		}
	}
}

func TestCategories(t *testing.T) {
	s := start(t)
	_, _, body := s.Do(t, "GET", "/providers/microsoft.insights/eventcategories?api-version=2015-04-01", nil)
	if diff := cmp.Diff(`{"value":[{"value":"Administrative","localizedValue":"Administrative"},{"value":"Policy","localizedValue":"Policy"}]}`, string(body)); diff != "" {
		t.Error(diff)
	}
}

// A flood of refusals must not fill the store.
func TestRefusalsAreBounded(t *testing.T) {
	s := start(t)
	token, _ := s.TokenFor(t, "", arm.Tenant)
	for range 700 {
		s.DoAs(t, token, "PUT", vm("x"), `{"location":"local"}`)
	}
	if lines, _ := logOf(t, s, "", "status eq 'Failed'"); len(lines) < 500 || len(lines) > 1200 {
		t.Errorf("%d of 700 refusals are recorded", len(lines))
	}
}
