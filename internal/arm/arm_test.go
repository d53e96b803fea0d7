package arm_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/arm"
)

const vm = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/virtualMachines/v"

// ids are real forms of ids, from Azure's documentation of each type.
var ids = []string{
	"/", "/subscriptions/S", "/subscriptions/S/resourceGroups/G", "/subscriptions/S/resourcegroups/G",
	"/providers/Microsoft.Management/managementGroups/M",
	"/providers/Microsoft.Management/managementGroups/M/providers/Microsoft.Authorization/policyAssignments/P",
	"/providers/Microsoft.Authorization/policyDefinitions/P",
	"/subscriptions/S/providers/Microsoft.Authorization/policySetDefinitions/P",
	"/subscriptions/S/providers/Microsoft.Compute/locations/westeurope/publishers/Debian/artifacttypes/vmimage/offers/debian-12/skus/12/versions/1.0.0",
	vm, vm + "/extensions/e", vm + "/providers/Microsoft.Authorization/roleAssignments/r",
	vm + "/providers/Microsoft.GuestConfiguration/guestConfigurationAssignments/g/reports/r",
	"/subscriptions/S/resourceGroups/G/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0",
}

// The SDK's parser, which is not ours, must see the same in an id.
func TestParseIDAgreesWithTheSDK(t *testing.T) {
	for _, text := range ids[1:] {
		want, err := azarm.ParseResourceID(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		got, err := arm.ParseID(text)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		type view struct{ Type, Name, Subscription, Group string }
		w := view{want.ResourceType.String(), want.Name, want.SubscriptionID, want.ResourceGroupName}
		g := view{string(got.Type()), got.Name(), got.Subscription(), got.ResourceGroup()}
		if diff := cmp.Diff(w, g); diff != "" || got.String() != text {
			t.Errorf("%s reads as %s (-sdk +ours)\n%s", text, got, diff)
		}
		if p := want.Parent.String(); p != got.Parent().String() && !(p == "" && got.Parent().IsRoot()) {
			t.Errorf("%s: parent %s, the SDK says %s", text, got.Parent(), p)
		}
	}
}

func parse(t *testing.T, s string) arm.ID {
	t.Helper()
	id, err := arm.ParseID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestScopeAndKind(t *testing.T) {
	for text, want := range map[string]struct {
		scope string
		kind  arm.Kind
	}{
		"/": {"/", arm.KindTenant}, ids[1]: {"/", arm.KindSubscription}, ids[2]: {"/subscriptions/S", arm.KindResourceGroup},
		ids[4]: {"/", arm.KindManagementGroup}, ids[5]: {ids[4], arm.KindResource}, ids[7]: {"/subscriptions/S", arm.KindResource},
		vm + "/extensions/e": {"/subscriptions/S/resourceGroups/G", arm.KindResource}, ids[11]: {vm, arm.KindResource}, ids[12]: {vm, arm.KindResource},
	} {
		id := parse(t, text)
		if id.Scope().String() != want.scope || id.Kind() != want.kind {
			t.Errorf("%s: scope %s, kind %s; want %s, %s", text, id.Scope(), id.Kind(), want.scope, want.kind)
		}
	}
}

func TestBuiltIDsAreParsedIDs(t *testing.T) {
	g := arm.ResourceGroupID("S", "G")
	for _, id := range []arm.ID{
		arm.SubscriptionID("S"), g, g.Resource("Microsoft.Compute/galleries", "g").Child("images", "i").Child("versions", "1.0.0"),
		g.Resource("A.B/c", "d").Resource("E.F/g", "h").Child("i", "j"), arm.Tenant.Resource("A.B/c", "d"),
	} {
		if parsed := parse(t, id.String()); parsed != id {
			t.Errorf("%s: built %#v, parsed %#v", id, id, parsed)
		}
	}
	names := parse(t, ids[13]).Names()
	if diff := cmp.Diff([]string{"g", "i", "1.0.0"}, names); diff != "" {
		t.Error(diff)
	}
}

func TestContains(t *testing.T) {
	for _, c := range []struct {
		outer, inner string
		want         bool
	}{
		{"/", vm, true}, {"/subscriptions/s", vm, true}, {"/subscriptions/S/resourceGroups/g", vm, true}, {vm, vm, true},
		{vm, "/subscriptions/S/resourceGroups/G", false}, {"/subscriptions/S/resourceGroups/s", "/subscriptions/S/resourceGroups/ſ", false}, {"/subscriptions/S/resourceGroups/G", "/subscriptions/S/resourceGroups/G2", false},
	} {
		if got := parse(t, c.outer).Contains(parse(t, c.inner)); got != c.want {
			t.Errorf("%s contains %s: %v", c.outer, c.inner, got)
		}
	}
}

func TestParsePath(t *testing.T) {
	type view struct{ ID, Namespace, Tail string }
	for text, want := range map[string]view{
		"/subscriptions":                      {"/", "", "subscriptions"},
		"/subscriptions/S/resourceGroups":     {"/subscriptions/S", "", "resourceGroups"},
		"/subscriptions/S/providers":          {"/subscriptions/S", "", "providers"},
		"/subscriptions/S/providers/A.B":      {"/subscriptions/S", "A.B", ""},
		"/subscriptions/S/providers/A.B/c":    {"/subscriptions/S", "A.B", "c"},
		vm + "/start":                         {vm, "", "start"},
		vm + "/providers/A.B/c":               {vm, "A.B", "c"},
		vm + "/":                              {vm, "", ""},
		"/subscriptions/S/resourceGroups/G/x": {"/subscriptions/S/resourceGroups/G", "", "x"},
	} {
		p, err := arm.ParsePath(text)
		if diff := cmp.Diff(want, view{p.ID.String(), p.Namespace, p.Tail}); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
}

func TestHostileIDs(t *testing.T) {
	for _, text := range []string{
		"/subscriptions/S/resourceGroups", vm + "/extensions", "/subscriptions//resourceGroups/G", "/subscriptions/../x", "/subscriptions/S/resourceGroups/..",
		"/subscriptions/a\x00b", `/subscriptions/a\b`, "/subscriptions/a\nb", "/subscriptions/\xff", "/subscriptions/" + strings.Repeat("a", 261), strings.Repeat("/a", 2000),
		"/subscriptions/S/providers", "/subscriptions/S/providers/A.B", "/foo/bar",
	} {
		_, err := arm.ParseID(text)
		var e *arm.Error
		if !errors.As(err, &e) || e.Status != 400 || e.Code == "" || e.Message == "" {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func FuzzParseID(f *testing.F) {
	for _, id := range ids {
		f.Add(id)
	}
	f.Add("/subscriptions/S/providers/A.B/../c")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := arm.ParseID(text)
		if err != nil {
			return
		}
		again, err := arm.ParseID(id.String())
		if err != nil || again != id {
			t.Fatalf("%q: %s parses as %s, %v", text, id, again, err)
		}
		if strings.Contains(id.String(), "/../") || strings.ContainsRune(id.String(), 0) {
			t.Fatalf("%q passed", text)
		}
		steps := 0
		for p := id; !p.IsRoot(); p = p.Parent() {
			if steps++; steps > arm.MaxIDLength || !p.Contains(id) && !strings.EqualFold(p.Key(), id.Key()[:len(p.Key())]) {
				t.Fatalf("%q: %s is no ancestor of %s", text, p, id)
			}
			if q, err := arm.ParseID(p.String()); err != nil || q != p {
				t.Fatalf("%q: ancestor %s parses as %s, %v", text, p, q, err)
			}
		}
	})
}

func TestJSONKeepsWhatItDoesNotKnow(t *testing.T) {
	doc := json.RawMessage(`{"b":1.50,"Properties":{"Big":12345678901234567890,"nul":null,"x":{"y":[1, 2]}},"a":"<&>"}`)
	set := func(path string, v any) {
		t.Helper()
		var err error
		if doc, err = arm.Set(doc, path, v); err != nil {
			t.Fatal(err)
		}
	}
	set("properties.provisioningState", "Succeeded")
	set("PROPERTIES.X.z", 1)
	set("new.deep.er", true)
	doc = arm.Remove(doc, "properties.NUL")
	doc = arm.Remove(doc, "properties.none.at.all")
	want := `{"b":1.50,"Properties":{"Big":12345678901234567890,"x":{"y":[1, 2],"z":1},"provisioningState":"Succeeded"},"a":"<&>","new":{"deep":{"er":true}}}`
	var w, g any
	_ = json.Unmarshal([]byte(want), &w)
	_ = json.Unmarshal(doc, &g)
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if !strings.Contains(string(doc), "12345678901234567890") || !strings.Contains(string(doc), "1.50") {
		t.Errorf("numbers were rewritten: %s", doc)
	}
	if got := arm.GetString(doc, "properties.PROVISIONINGSTATE"); got != "Succeeded" {
		t.Errorf("get: %q", got)
	}
	if _, err := arm.Set(json.RawMessage(`{"a":"text"}`), "a.b", 1); err == nil {
		t.Error("set below a text")
	}
}

func FuzzAppendString(f *testing.F) {
	for _, text := range []string{"", "plain ~ text", `"\`, "<&>", "ü\u2028", "\xff", "\x00\x7f"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		want, _ := json.Marshal(text)
		if got := arm.AppendString([]byte("x"), text); string(got) != "x"+string(want) {
			t.Fatalf("%q: %s, want x%s", text, got, want)
		}
	})
}

// The examples of RFC 7396, appendix A, for objects.
func TestMerge(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`}, {`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`}, {`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`}, {`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`}, {`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"Tags":{"A":"1"}}`, `{"tags":{"a":"2"}}`, `{"Tags":{"A":"2"}}`},
	} {
		got, err := arm.Merge(json.RawMessage(c[0]), json.RawMessage(c[1]))
		if err != nil || string(got) != c[2] {
			t.Errorf("%s + %s = %s, want %s (%v)", c[0], c[1], got, c[2], err)
		}
	}
}

func FuzzCheckJSON(f *testing.F) {
	f.Add([]byte(`{"a":{"b":[1,2,{"c":null}]}}`))
	f.Add([]byte(`{"a":1,"A":2}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if arm.CheckJSON(body) != nil {
			return
		}
		if !json.Valid(body) {
			t.Fatalf("%q passed and is not JSON", body)
		}
		if out, err := arm.Set(body, "properties.provisioningState", "x"); err == nil && !json.Valid(out) {
			t.Fatalf("%q became %q", body, out)
		}
		if out, err := arm.Merge(body, body); err != nil || !json.Valid(out) {
			t.Fatalf("%q merged to %q, %v", body, out, err)
		}
	})
}

func TestErrorEnvelope(t *testing.T) {
	e := arm.Join([]*arm.Error{arm.BadRequest("A", "properties.a", "a is %d.", 1), arm.BadRequest("B", "properties.b", "b.")})
	got := string(arm.AsError(e).MarshalEnvelope())
	want := `{"error":{"code":"MultipleErrorsOccurred","message":"2 things in the request are wrong. Please see details.","details":[{"code":"A","message":"a is 1.","target":"properties.a"},{"code":"B","message":"b.","target":"properties.b"}]}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	secret := errors.New("password=hunter2")
	if e := arm.AsError(secret); e.Status != 500 || strings.Contains(string(e.MarshalEnvelope()), "hunter2") || !errors.Is(e, secret) {
		t.Errorf("an inner error: %s", e.MarshalEnvelope())
	}
}
