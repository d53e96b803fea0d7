package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hallmark.dev/hallmark/internal/admission"
	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/assignment"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/store/mem"
)

// provocation sends what a row of the table of errors says, and returns the answer.
type provocation func(t *testing.T, s *providertest.Server) (int, []byte)

const (
	rg         = "/subscriptions/" + providertest.Subscription + "/resourceGroups/" + providertest.ResourceGroup
	sub        = "/subscriptions/" + providertest.Subscription
	networkAPI = "?api-version=2023-11-01"
	armAPI     = "?api-version=2021-04-01"
	aDisk      = rg + "/providers/Microsoft.Compute/disks/d?api-version=2023-10-02"
	balancer   = rg + "/providers/Microsoft.Network/loadBalancers/front"
)

// send is a single request.
func send(method, target, body string) provocation {
	return func(t *testing.T, s *providertest.Server) (int, []byte) {
		status, _, answer := s.Do(t, method, target, body)
		return status, answer
	}
}

// after sends a request whose preparation must succeed.
func after(prepare provocation, then provocation) provocation {
	return func(t *testing.T, s *providertest.Server) (int, []byte) {
		t.Helper()
		if status, answer := prepare(t, s); status >= 300 {
			t.Fatalf("the preparation was answered %d %s", status, answer)
		}
		return then(t, s)
	}
}

// deploy deploys a template with parameters.
func deploy(template, parameters string) provocation {
	return send("PUT", rg+"/providers/Microsoft.Resources/deployments/d"+armAPI, fmt.Sprintf(`{"properties":{"mode":"Incremental","template":%s,"parameters":%s}}`, template, parameters))
}

func template(resources string) string {
	return `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",
 "parameters":{"size":{"type":"string","defaultValue":"a"}},
 "resources":[` + resources + `]}`
}

func element(name, more string) string {
	return `{"type":"Microsoft.Network/routeTables","apiVersion":"2023-11-01","name":"` + name + `","location":"local"` + more + `}`
}

// token asks with somebody's token.
func withToken(make func(t *testing.T, s *providertest.Server) string) provocation {
	return func(t *testing.T, s *providertest.Server) (int, []byte) {
		status, _, answer := s.DoAs(t, make(t, s), "GET", rg+armAPI, nil)
		return status, answer
	}
}

// issued is a token of an Owner, issued for an audience by a tenant's issuer at a time.
func issued(audience func(s *providertest.Server) string, tenant string, age time.Duration) provocation {
	return withToken(func(t *testing.T, s *providertest.Server) string {
		_, p := s.TokenFor(t, "Owner", arm.Tenant)
		return s.Issue(t, p, audience(s), tenant, time.Now().Add(-age))
	})
}

func here(s *providertest.Server) string { return s.URL + "/" }

func manyTags(n int) string {
	var tags []string
	for i := range n {
		tags = append(tags, fmt.Sprintf(`"t%d":"x"`, i))
	}
	return `{"location":"local","tags":{` + strings.Join(tags, ",") + `}}`
}

var provocations = map[string]provocation{
	"a type that is not known, in a namespace that is served": send("GET", rg+"/providers/Microsoft.Compute/quantumMachines/q"+networkAPI, ""),
	"a namespace that is not known":                           send("GET", rg+"/providers/No.Such/things/x"+networkAPI, ""),
	"a type at a scope where it cannot be":                    send("PUT", sub+"/providers/Microsoft.Network/loadBalancers/front"+networkAPI, `{"location":"local"}`),
	"no api-version":                                          send("GET", rg, ""),
	"an api-version that is no date":                          send("GET", rg+"?api-version=latest", ""),
	"a malformed id":                                          send("GET", sub+"/resourceGroups/.."+armAPI, ""),
	"a subscription that is not there":                        send("GET", "/subscriptions/11111111-0000-0000-0000-000000000000/resourceGroups"+armAPI, ""),
	"a group that is not there":                               send("PUT", sub+"/resourceGroups/nope/providers/Microsoft.Network/loadBalancers/front"+networkAPI, `{"location":"local"}`),
	"a resource that is not there":                            send("GET", balancer+networkAPI, ""),
	"a child of what is not there":                            send("PUT", balancer+"/backendAddressPools/p"+networkAPI, `{}`),
	"a body that is not JSON":                                 send("PUT", balancer+networkAPI, `{"location":`),
	"a property twice, in different case":                     send("PUT", balancer+networkAPI, `{"location":"local","Location":"north"}`),
	"a body of more than 4 MB":                                send("PUT", balancer+networkAPI, `{"location":"local","x":"`+strings.Repeat("x", 4<<20)+`"}`),
	"several things wrong at once":                            send("PUT", balancer+networkAPI, `{"location":"mars","sku":1}`),
	"a name against the type's rule":                          send("PUT", rg+"/providers/Microsoft.Storage/storageAccounts/My_Account?api-version=2023-05-01", `{"location":"local"}`),
	"a machine's name against the rule":                       send("PUT", rg+"/providers/Microsoft.Compute/virtualMachines/web_1.?api-version=2024-07-01", `{"location":"local"}`),
	"no location":                                             send("PUT", rg+"/providers/Microsoft.Network/virtualNetworks/v"+networkAPI, `{"properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`),
	"a location that is not allowed":                          send("PUT", balancer+networkAPI, `{"location":"mars"}`),
	"a group in a location that is not allowed":               send("PUT", sub+"/resourceGroups/g"+armAPI, `{"location":"mars"}`),
	"another location than before":                            after(send("PUT", balancer+networkAPI, `{"location":"local"}`), send("PUT", balancer+networkAPI, `{"location":"north"}`)),
	"a reference to a resource that does not exist": send("PUT", rg+"/providers/Microsoft.Network/networkInterfaces/n"+networkAPI,
		`{"location":"local","properties":{"ipConfigurations":[{"name":"a","properties":{"subnet":{"id":"`+rg+`/providers/Microsoft.Network/virtualNetworks/none/subnets/s"}}}]}}`),
	"a tag name with a reserved character":    send("PUT", balancer+networkAPI, `{"location":"local","tags":{"a<b":"c"}}`),
	"a tag name of more than 512 characters":  send("PUT", balancer+networkAPI, `{"location":"local","tags":{"`+strings.Repeat("n", 513)+`":"c"}}`),
	"a tag value of more than 256 characters": send("PUT", balancer+networkAPI, `{"location":"local","tags":{"a":"`+strings.Repeat("v", 257)+`"}}`),
	"more than 50 tags":                       send("PUT", balancer+networkAPI, manyTags(51)),
	"a filter that is not supported":          send("GET", sub+"/resources"+armAPI+"&$filter=cost%20gt%201", ""),
	"$top that is no number":                  send("GET", sub+"/resources"+armAPI+"&$top=many", ""),
	"a method that is not possible":           send("PATCH", sub+armAPI, `{}`),
	"If-Match of an older version": func(t *testing.T, s *providertest.Server) (int, []byte) {
		if _, err := s.Client.Put(t.Context(), group().Resource("Microsoft.Network/loadBalancers", "front"), map[string]string{"location": "local"}); err != nil {
			t.Fatal(err)
		}
		return withHeader(t, s, "PUT", balancer+networkAPI, `{"location":"local"}`, "If-Match", `"0"`)
	},
	"If-None-Match: * on what is there": func(t *testing.T, s *providertest.Server) (int, []byte) {
		return withHeader(t, s, "PUT", rg+armAPI, `{"location":"local"}`, "If-None-Match", "*")
	},
	"a change while an operation runs": after(send("PUT", aDisk, `{"location":"local","properties":{"creationData":{"createOption":"Empty"},"diskSizeGB":1}}`),
		send("PATCH", aDisk, `{"tags":{"a":"b"}}`)),
	"a write into a group that is being deleted": after(send("DELETE", rg+armAPI, ""), send("PUT", balancer+networkAPI, `{"location":"local"}`)),
	"a delete with children that must go first":  after(send("PUT", sub+"/tagNames/owner"+armAPI, ""), after(send("PUT", sub+"/tagNames/owner/tagValues/ops"+armAPI, ""), send("DELETE", sub+"/tagNames/owner"+armAPI, ""))),
	"a delete under a lock":                      after(send("PUT", rg+"/providers/Microsoft.Authorization/locks/keep?api-version=2020-05-01", `{"properties":{"level":"CanNotDelete"}}`), send("DELETE", rg+armAPI, "")),
	"an action on what is only recorded":         send("POST", rg+"/providers/Microsoft.Storage/storageAccounts/account/listKeys?api-version=2023-05-01", ""),
	"moving resources":                           send("POST", rg+"/moveResources"+armAPI, `{"resources":[],"targetResourceGroup":"x"}`),
	"unregistering a provider":                   send("POST", sub+"/providers/Microsoft.Network/unregister"+armAPI, ""),

	"a write that a policy denies":             after(forbid("deny", ""), send("PUT", balancer+networkAPI, `{"location":"local"}`)),
	"a delete that a policy denies":            after(send("PUT", balancer+networkAPI, `{"location":"local"}`), after(forbid("denyAction", `,"details":{"actionNames":["delete"]}`), send("DELETE", balancer+networkAPI, ""))),
	"too much at the same time":                bodiesThatNeverEnd,
	"a template that is not valid":             deploy("{\n \"resources\": [\n  {\"type\": 1}\n ]\n}", `{}`),
	"an expression that is not valid":          deploy(template(element("[concat('a',]", "")), `{}`),
	"a circular dependency":                    deploy(template(element("a", `,"dependsOn":["[resourceId('Microsoft.Network/routeTables','b')]"]`)+","+element("b", `,"dependsOn":["[resourceId('Microsoft.Network/routeTables','a')]"]`)), `{}`),
	"a template's parameter that is missing":   deploy(strings.Replace(template(element("a", "")), `,"defaultValue":"a"`, "", 1), `{}`),
	"a parameter that the template lacks":      deploy(template(element("a", "")), `{"colour":{"value":"red"}}`),
	"a dependency that the template lacks":     deploy(template(element("a", `,"dependsOn":["[resourceId('Microsoft.Network/routeTables','none')]"]`)), `{}`),
	"a template's resource of an unknown type": deploy(template(`{"type":"Microsoft.Compute/quantumMachines","apiVersion":"2023-11-01","name":"q"}`), `{}`),

	"no token": func(t *testing.T, s *providertest.Server) (int, []byte) {
		return withHeader(t, s, "GET", rg+armAPI, "", "Authorization", "none")
	},
	"a forged token":               withToken(func(*testing.T, *providertest.Server) string { return "eyJhbGciOiJub25lIn0.e30." }),
	"a token that has expired":     issued(here, "", 3*time.Hour),
	"a token for another audience": issued(func(s *providertest.Server) string { return s.URL + "/graph/" }, "", 0),
	"a token of another tenant":    issued(here, "22222222-0000-0000-0000-000000000000", 0),
	"no role for it": withToken(func(t *testing.T, s *providertest.Server) string {
		token, _ := s.TokenFor(t, "", arm.Tenant)
		return token
	}),
}

// governed is a control plane where policies have their say.
func governed() []providertest.Option {
	s := mem.New()
	return []providertest.Option{providertest.WithStore(s), providertest.WithAdmitter(admission.New(admission.Config{Store: s, Index: assignment.New(s, nil)}))}
}

// forbid assigns a policy against an action on load balancers.
func forbid(effect, more string) provocation {
	const definition, assigned = sub + "/providers/Microsoft.Authorization/policyDefinitions/no", rg + "/providers/Microsoft.Authorization/policyAssignments/no?api-version=2023-04-01"
	return after(send("PUT", definition+"?api-version=2023-04-01", `{"properties":{"mode":"All","policyRule":{"if":{"field":"type","equals":"Microsoft.Network/loadBalancers"},"then":{"effect":"`+effect+`"`+more+`}}}}`),
		send("PUT", assigned, `{"properties":{"policyDefinitionId":"`+definition+`"}}`))
}

// bodiesThatNeverEnd are more at a time than one client may send; the first answer refuses one.
func bodiesThatNeverEnd(t *testing.T, s *providertest.Server) (int, []byte) {
	t.Helper()
	ctx, end := context.WithCancel(t.Context())
	answers, over := make(chan *http.Response), make(chan struct{})
	var senders sync.WaitGroup
	defer func() { close(over); end(); senders.Wait() }()
	for range 20 {
		senders.Go(func() {
			silent, _ := io.Pipe()
			r, err := http.NewRequestWithContext(ctx, "PUT", s.URL+balancer+networkAPI, silent)
			if err != nil {
				return
			}
			r.ContentLength = 4 << 20
			answer, err := s.HTTP.Do(r)
			if err != nil {
				return
			}
			select {
			case answers <- answer:
			case <-over:
				answer.Body.Close()
			}
		})
	}
	select {
	case answer := <-answers:
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, body
	case <-time.After(time.Minute):
		t.Fatal("20 bodies of 4 MB were taken at the same time")
		return 0, nil
	}
}

func group() arm.ID { return providertest.Group() }

func withHeader(t *testing.T, s *providertest.Server, method, target, body, name, value string) (int, []byte) {
	t.Helper()
	status, _, answer := s.DoWith(t, method, target, body, name, value)
	return status, answer
}

var errorRow = regexp.MustCompile(`(?m)^\| ([^|]+) \| (\d{3}) \| (\w+)(?: in details)? \| ([^|]*) \|$`)

// The table of errors in docs/api.md is what is answered: every row is provoked over
// HTTP, and nothing is provoked that has no row.
func TestTableOfErrors(t *testing.T) {
	raw, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(raw), "\n## Errors\n")
	if !ok {
		t.Fatal("docs/api.md has no section Errors")
	}
	table, _, _ = strings.Cut(table, "\n### ")
	listed := map[string]bool{}
	for _, row := range errorRow.FindAllStringSubmatch(table, -1) {
		what, status, code := row[1], row[2], row[3]
		listed[what] = true
		provoke := provocations[what]
		if provoke == nil {
			t.Errorf("nothing provokes %q", what)
			continue
		}
		t.Run(what, func(t *testing.T) {
			got, answer := provoke(t, full(t, governed()...))
			var e struct{ Error *arm.Error }
			if err := json.Unmarshal(answer, &e); err != nil || e.Error == nil {
				t.Fatalf("answered %d %s", got, answer)
			}
			t.Logf("%d %s: %s", got, e.Error.Code, e.Error.Message)
			if want, _ := strconv.Atoi(status); got != want || e.Error.Code != code {
				t.Errorf("answered %d %s; the table says %s %s\n%s", got, e.Error.Code, status, code, answer)
			}
			if e.Error.Message == "" || strings.Contains(e.Error.Message, "%!") {
				t.Errorf("says %q", e.Error.Message)
			}
		})
	}
	for what := range provocations {
		if !listed[what] {
			t.Errorf("docs/api.md has no row for %q", what)
		}
	}
}
