package network_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
	"hallmark.dev/hallmark/internal/identity"
	"hallmark.dev/hallmark/internal/provider/providertest"
	"hallmark.dev/hallmark/internal/rp/network"
)

const version = "?api-version=2024-05-01"

type world struct {
	*providertest.Server
	t *testing.T
}

func start(t *testing.T, prefix string) world {
	t.Helper()
	return world{providertest.Start(t, providertest.With(network.New(network.Config{Prefix: netip.MustParsePrefix(prefix)}))), t}
}

func id(typ arm.Type, name string) arm.ID { return providertest.Group().Resource(typ, name) }

// do sends a request and fails the test unless the answer has the status.
func (w world) do(want int, method string, at arm.ID, body string) json.RawMessage {
	w.t.Helper()
	var sent any
	if body != "" {
		sent = body
	}
	status, _, got := w.Do(w.t, method, at.String()+version, sent)
	if status != want {
		w.t.Fatalf("%s %s: status %d, want %d: %s", method, at, status, want, got)
	}
	return got
}

// refused is the code of the error with which a request is refused.
func (w world) refused(method string, at arm.ID, body string) string {
	w.t.Helper()
	var sent any
	if body != "" {
		sent = body
	}
	status, _, got := w.Do(w.t, method, at.String()+version, sent)
	if status < 400 || status >= 500 {
		w.t.Fatalf("%s %s: status %d, want a refusal: %s", method, at, status, got)
	}
	return arm.GetString(got, "error.code")
}

const vnetBody = `{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},
	"subnets":[{"name":"default","properties":{"addressPrefix":"10.0.0.0/24"}}]}}`

func (w world) vnet() arm.ID {
	w.t.Helper()
	vnet := id(network.TypeVirtualNetwork, "net")
	w.do(201, "PUT", vnet, vnetBody)
	return vnet.Child("subnets", "default")
}

func nicBody(subnet arm.ID, more string) string {
	return fmt.Sprintf(`{"location":"local","properties":{"ipConfigurations":[{"name":"ip","properties":{"subnet":{"id":%q}%s}}]}}`, subnet, more)
}

func address(body json.RawMessage) string {
	var n struct {
		Properties struct {
			IPConfigurations []struct {
				Properties struct{ PrivateIPAddress string }
			}
		}
	}
	if json.Unmarshal(body, &n) != nil || len(n.Properties.IPConfigurations) != 1 {
		return "unreadable: " + string(body)
	}
	return n.Properties.IPConfigurations[0].Properties.PrivateIPAddress
}

func TestSubnetsAreListedAndAreResources(t *testing.T) {
	w := start(t, "192.0.2.0/24")
	w.vnet()
	vnet := id(network.TypeVirtualNetwork, "net")
	w.do(201, "PUT", vnet.Child("subnets", "second"), `{"properties":{"addressPrefix":"10.0.1.0/24"}}`)

	var body struct {
		Properties struct{ Subnets []struct{ ID, Name string } }
	}
	if err := json.Unmarshal(w.do(200, "GET", vnet, ""), &body); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range body.Properties.Subnets {
		names = append(names, s.Name)
		w.do(200, "GET", vnet.Child("subnets", s.Name), "")
	}
	if diff := cmp.Diff([]string{"default", "second"}, names); diff != "" {
		t.Error(diff)
	}

	// An update that says nothing of subnets keeps them; an empty list removes them.
	w.do(200, "PUT", vnet, `{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`)
	w.do(200, "GET", vnet.Child("subnets", "second"), "")
	w.do(200, "DELETE", vnet.Child("subnets", "second"), "")
	if got := string(w.do(200, "GET", vnet, "")); strings.Contains(got, "second") {
		t.Errorf("the network still lists the subnet that is gone: %s", got)
	}
	w.do(200, "DELETE", vnet, "")
	w.do(404, "GET", vnet.Child("subnets", "default"), "")
}

func TestVirtualNetworkRefusals(t *testing.T) {
	w := start(t, "192.0.2.0/24")
	for _, test := range []struct{ body, code string }{
		{`{"location":"local","properties":{}}`, "InvalidRequestContent"},
		{`{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.1/16"]}}}`, "InvalidAddressPrefixFormat"},
		{`{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[{"name":"a","properties":{"addressPrefix":"10.1.0.0/24"}}]}}`, "NetcfgInvalidSubnet"},
		{`{"location":"local","properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]},"subnets":[
			{"name":"a","properties":{"addressPrefix":"10.0.0.0/24"}},{"name":"b","properties":{"addressPrefix":"10.0.0.128/25"}}]}}`, "NetcfgSubnetRangesOverlap"},
		{`{"location":"local","properties":{"addressSpace":{"addressPrefixes":["x"]},"subnets":[{"name":"../a","properties":{"addressPrefix":"y"}},7]}}`, "MultipleErrorsOccurred"},
	} {
		if got := w.refused("PUT", id(network.TypeVirtualNetwork, "bad"), test.body); got != test.code {
			t.Errorf("%s: %s, want %s", test.body, got, test.code)
		}
	}
}

// Addresses come from the machines' own network, without the four that Azure keeps.
func TestInterfaceGetsAnAddress(t *testing.T) {
	w := start(t, "192.0.2.0/24")
	subnet := w.vnet()
	nic := id(network.TypeInterface, "a")
	got := w.do(201, "PUT", nic, nicBody(subnet, ""))
	if a := address(got); a != "192.0.2.4" {
		t.Errorf("address %s, want 192.0.2.4", a)
	}
	if mac := arm.GetString(got, "properties.macAddress"); !regexp.MustCompile(`^02-48-4D-00-02-04$`).MatchString(mac) {
		t.Errorf("MAC address %s", mac)
	}
	if a := address(w.do(200, "PUT", nic, nicBody(subnet, ""))); a != "192.0.2.4" {
		t.Errorf("an update moved the interface to %s", a)
	}
	if a := address(w.do(201, "PUT", id(network.TypeInterface, "b"), nicBody(subnet, ""))); a != "192.0.2.5" {
		t.Errorf("the second interface got %s", a)
	}
	w.do(200, "DELETE", nic, "")
	if a := address(w.do(201, "PUT", id(network.TypeInterface, "c"), nicBody(subnet, ""))); a != "192.0.2.4" {
		t.Errorf("a free address was not used again: %s", a)
	}
}

func TestAddressesAreGivenOnceAtATime(t *testing.T) {
	w := start(t, "192.0.2.0/26")
	subnet := w.vnet()
	var mu sync.Mutex
	seen := map[string]bool{}
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			_, _, body := w.Do(t, "PUT", id(network.TypeInterface, fmt.Sprintf("n%d", i)).String()+version, nicBody(subnet, ""))
			mu.Lock()
			defer mu.Unlock()
			if a := address(body); seen[a] {
				t.Errorf("%s was given twice", a)
			} else {
				seen[a] = true
			}
		})
	}
	all.Wait()
}

func TestNoAddressLeft(t *testing.T) {
	w := start(t, "192.0.2.0/29") // .4, .5 and .6
	subnet := w.vnet()
	for i := range 3 {
		w.do(201, "PUT", id(network.TypeInterface, fmt.Sprintf("n%d", i)), nicBody(subnet, ""))
	}
	if code := w.refused("PUT", id(network.TypeInterface, "n3"), nicBody(subnet, "")); code != "SubnetIsFull" {
		t.Error(code)
	}
}

func TestInterfaceRefusals(t *testing.T) {
	w := start(t, "192.0.2.0/24")
	subnet := w.vnet()
	w.do(201, "PUT", id(network.TypeInterface, "first"), nicBody(subnet, `,"privateIPAllocationMethod":"Static","privateIPAddress":"192.0.2.9"`))
	for _, test := range []struct{ body, code string }{
		{`{"location":"local","properties":{}}`, "InvalidParameter"},
		{nicBody(id(network.TypeVirtualNetwork, "net").Child("subnets", "none"), ""), "InvalidResourceReference"},
		{nicBody(id(network.TypeVirtualNetwork, "net"), ""), "InvalidRequestContent"},
		{nicBody(subnet, `,"privateIPAllocationMethod":"Static","privateIPAddress":"10.0.0.9"`), "PrivateIPAddressNotInSubnet"},
		{nicBody(subnet, `,"privateIPAllocationMethod":"Static","privateIPAddress":"192.0.2.1"`), "PrivateIPAddressNotInSubnet"},
		{nicBody(subnet, `,"privateIPAllocationMethod":"Static","privateIPAddress":"192.0.2.9"`), "PrivateIPAddressInUse"},
		{nicBody(subnet, `,"privateIPAllocationMethod":"Static","privateIPAddress":"x"`), "InvalidIPAddressFormat"},
		{nicBody(subnet, `,"publicIPAddress":{"id":"/nothing"}`), "InvalidRequestContent"},
	} {
		if got := w.refused("PUT", id(network.TypeInterface, "bad"), test.body); got != test.code {
			t.Errorf("%s: %s, want %s", test.body, got, test.code)
		}
	}
	if code := w.refused("DELETE", id(network.TypeVirtualNetwork, "net"), ""); code != "InUseSubnetCannotBeDeleted" {
		t.Error(code)
	}
	if code := w.refused("DELETE", subnet, ""); code != "InUseSubnetCannotBeDeleted" {
		t.Error(code)
	}
}

// A public address shows where the machine is reached, so that `az vm create` prints
// something that ssh can use.
func TestPublicAddress(t *testing.T) {
	w := start(t, "192.0.2.0/24")
	subnet := w.vnet()
	public, nic := id(network.TypePublicAddress, "p"), id(network.TypeInterface, "a")
	w.do(201, "PUT", public, `{"location":"local","sku":{"name":"Standard"},"properties":{"publicIPAllocationMethod":"Static"}}`)
	with := nicBody(subnet, fmt.Sprintf(`,"publicIPAddress":{"id":%q}`, public))
	w.do(201, "PUT", nic, with)
	if a := arm.GetString(w.do(200, "GET", public, ""), "properties.ipAddress"); a != "192.0.2.4" {
		t.Errorf("public address %q", a)
	}
	if code := w.refused("PUT", id(network.TypeInterface, "b"), with); code != "PublicIPAddressInUse" {
		t.Error(code)
	}
	if code := w.refused("DELETE", public, ""); code != "PublicIPAddressCannotBeDeleted" {
		t.Error(code)
	}
	w.do(200, "PUT", nic, nicBody(subnet, ""))
	if a := arm.GetString(w.do(200, "GET", public, ""), "properties.ipAddress"); a != "" {
		t.Errorf("the address stays after the interface let go: %q", a)
	}
	w.do(200, "DELETE", public, "")
}

func TestSecurityGroup(t *testing.T) {
	w := start(t, "192.0.2.0/24")
	subnet := w.vnet()
	group := id(network.TypeSecurityGroup, "g")
	rule := func(name string, priority int) string {
		return fmt.Sprintf(`{"name":%q,"properties":{"priority":%d,"direction":"Inbound","access":"Allow","protocol":"Tcp","sourcePortRange":"*",
			"destinationPortRange":"22","sourceAddressPrefix":"*","destinationAddressPrefix":"*"}}`, name, priority)
	}
	put := func(rules string) string {
		return `{"location":"local","properties":{"securityRules":[` + rules + `]}}`
	}
	got := w.do(201, "PUT", group, put(rule("ssh", 1000)))
	if !strings.Contains(string(got), "DenyAllInBound") {
		t.Errorf("no default rules: %s", got)
	}
	if code := w.refused("PUT", group, put(rule("a", 100)+","+rule("b", 100))); code != "SecurityRuleConflict" {
		t.Error(code)
	}
	if code := w.refused("PUT", group, put(rule("a", 99))); code != "SecurityRuleInvalidPriority" {
		t.Error(code)
	}
	body := fmt.Sprintf(`{"location":"local","properties":{"networkSecurityGroup":{"id":%q},"ipConfigurations":[{"name":"ip","properties":{"subnet":{"id":%q}}}]}}`, group, subnet)
	w.do(201, "PUT", id(network.TypeInterface, "a"), body)
	if code := w.refused("DELETE", group, ""); code != "InUseNetworkSecurityGroupCannotBeDeleted" {
		t.Error(code)
	}
}

func ruleBody(priority int, ports string) string {
	return fmt.Sprintf(`{"properties":{"priority":%d,"direction":"Inbound","access":"Allow","protocol":"*","sourcePortRange":"*","destinationPortRange":%q,"sourceAddressPrefix":"*","destinationAddressPrefix":"*"}}`, priority, ports)
}

// ruleNames are the rules that a group lists in its body.
func (w world) ruleNames(group arm.ID) (names []string) {
	w.t.Helper()
	var g struct {
		Properties struct {
			SecurityRules []struct {
				ID, Name   string
				Properties struct{ ProvisioningState string }
			}
		}
	}
	if err := json.Unmarshal(w.do(200, "GET", group, ""), &g); err != nil {
		w.t.Fatal(err)
	}
	for _, r := range g.Properties.SecurityRules {
		if r.ID != group.Child("securityRules", r.Name).String() || r.Properties.ProvisioningState != "Succeeded" {
			w.t.Errorf("%+v", r)
		}
		names = append(names, r.Name)
	}
	return names
}

func TestSecurityRulesAreListedAndAreResources(t *testing.T) {
	w := start(t, "192.0.2.0/24")
	group := id(network.TypeSecurityGroup, "g")
	rule := func(name string) arm.ID { return group.Child("securityRules", name) }
	if code := w.refused("PUT", rule("ssh"), ruleBody(1000, "22")); code != "ParentResourceNotFound" {
		t.Error(code)
	}
	w.do(201, "PUT", group, `{"location":"local","properties":{"securityRules":[{"name":"ssh",`+ruleBody(1000, "22")[1:]+`]}}`)
	w.do(200, "GET", rule("ssh"), "")
	w.do(201, "PUT", rule("web"), ruleBody(900, "80"))
	w.do(200, "PUT", rule("WEB"), ruleBody(901, "8000-8080"))
	if diff := cmp.Diff([]string{"ssh", "web"}, w.ruleNames(group)); diff != "" {
		t.Error(diff)
	}
	for what, x := range map[string]struct{ code, name, body string }{
		"the same place":     {"SecurityRuleConflict", "other", ruleBody(1000, "23")},
		"its own new place":  {"SecurityRuleConflict", "web", ruleBody(1000, "80")},
		"a low priority":     {"SecurityRuleInvalidPriority", "other", ruleBody(99, "80")},
		"ports upside down":  {"SecurityRuleInvalidPortRange", "other", ruleBody(200, "90-80")},
		"a port of six":      {"SecurityRuleInvalidPortRange", "other", ruleBody(200, "123456")},
		"another direction":  {"InvalidParameter", "other", strings.Replace(ruleBody(200, "80"), "Inbound", "Up", 1)},
		"a rule of no shape": {"InvalidRequestContent", "other", `{"properties":{"priority":"high"}}`},
	} {
		if code := w.refused("PUT", rule(x.name), x.body); code != x.code {
			t.Errorf("%s: %s", what, code)
		}
	}
	w.do(201, "PUT", rule("out"), strings.Replace(ruleBody(1000, "*"), "Inbound", "Outbound", 1))
	w.do(200, "DELETE", rule("web"), "")
	if diff := cmp.Diff([]string{"ssh", "out"}, w.ruleNames(group)); diff != "" {
		t.Error(diff)
	}
	w.do(200, "PUT", group, `{"location":"local","properties":{"securityRules":[{"name":"only",`+ruleBody(100, "22")[1:]+`]}}`)
	w.do(404, "GET", rule("ssh"), "")
	w.do(200, "GET", rule("only"), "")
	w.do(200, "GET", group.Child("defaultSecurityRules", "denyallinbound"), "")
	w.do(404, "GET", group.Child("defaultSecurityRules", "only"), "")
	w.do(200, "DELETE", group, "")
	w.do(404, "GET", rule("only"), "")
}

// Of rules that want one place at the same time one gets it, and the group lists that one.
func TestOneRuleGetsAPlace(t *testing.T) {
	w := start(t, "192.0.2.0/24")
	group := id(network.TypeSecurityGroup, "g")
	w.do(201, "PUT", group, `{"location":"local"}`)
	var all sync.WaitGroup
	statuses := make([]int, 8)
	for i := range statuses {
		all.Go(func() {
			statuses[i], _, _ = w.Do(t, "PUT", group.Child("securityRules", fmt.Sprint("r", i)).String()+version, ruleBody(500, "80"))
		})
	}
	all.Wait()
	won := 0
	for _, s := range statuses {
		if s == 201 {
			won++
		} else if s != 400 {
			t.Errorf("status %d", s)
		}
	}
	if names := w.ruleNames(group); won != 1 || len(names) != 1 {
		t.Errorf("%d got the place, and %v are listed", won, names)
	}
}

// A machine's interface is claimed once, and cannot go while it is.
func TestJoinAndLeave(t *testing.T) {
	w := start(t, "192.0.2.0/24")
	nic := id(network.TypeInterface, "a")
	w.do(201, "PUT", nic, nicBody(w.vnet(), ""))
	vm := func(name string) any {
		return map[string]any{"virtualMachine": map[string]string{"id": id("Microsoft.Compute/virtualMachines", name).String()}}
	}
	system := w.Client.As(identity.System)
	if _, err := w.Client.Post(t.Context(), nic, "join", vm("one")); err == nil {
		t.Error("a client could claim an interface")
	}
	for range 2 {
		if _, err := system.Post(t.Context(), nic, "join", vm("one")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := system.Post(t.Context(), nic, "join", vm("two")); err == nil {
		t.Error("a second machine got the interface")
	}
	if code := w.refused("DELETE", nic, ""); code != "NicInUse" {
		t.Error(code)
	}
	if _, err := system.Post(t.Context(), nic, "leave", vm("two")); err != nil {
		t.Fatal(err)
	}
	if got := arm.GetString(w.do(200, "GET", nic, ""), "properties.virtualMachine.id"); !strings.HasSuffix(got, "/one") {
		t.Errorf("another machine's leave let go of it: %q", got)
	}
	if _, err := system.Post(t.Context(), nic, "leave", vm("one")); err != nil {
		t.Fatal(err)
	}
	w.do(200, "DELETE", nic, "")
}
