package audit

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/html"

	"hallmark.dev/hallmark/internal/junit"
	"hallmark.dev/hallmark/internal/lineage"
	"hallmark.dev/hallmark/internal/sarif"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	base = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/web/providers/Microsoft.Compute"
	web  = base + "/galleries/goldens/images/web"
)

func version(name, tags string) string {
	return fmt.Sprintf(`{"id":"%s/versions/%s","name":%q,"type":"Microsoft.Compute/galleries/images/versions","tags":%s,"publishingProfile":{"publishedDate":"2026-11-01T00:00:00+00:00"}}`, web, name, name, tags)
}

func vm(name, team, reference string) string {
	return fmt.Sprintf(`{"id":"%s/virtualMachines/%s","name":%q,"type":"Microsoft.Compute/virtualMachines","location":"eastus","resourceGroup":"web","tags":{"Team":%q},"storageProfile":{"imageReference":%s}}`, base, name, name, team, reference)
}

func id(id string) string { return fmt.Sprintf(`{"id":%q}`, id) }

// estate is what `az` prints for a small estate with one machine of each kind.
func estate(t *testing.T, o Options) *Estate {
	t.Helper()
	o.Now = now
	e := NewEstate(o)
	documents := []string{
		version("1.0.0", `{"hallmark-state":"revoked","hallmark-reason":"CVE-2026-1"}`),
		version("1.0.1", `{"hallmark-state":"aged"}`), version("1.0.2", `{"hallmark-state":"published"}`),
		version("1.0.3", `{"hallmark-state":"published","hallmark-source":"Debian:debian-12:12-gen2:12.1"}`),
		vm("current", "shop", id(web+"/versions/1.0.3")), vm("outdated", "shop", id(web+"/versions/1.0.2")),
		vm("aged", "pay", id(web+"/versions/1.0.1")), vm("revoked", "pay", id(web+"/versions/1.0.0")),
		vm("market", "", `{"publisher":"Debian","offer":"debian-12","sku":"12-gen2","version":"latest","exactVersion":"12.1"}`),
		vm("handmade", "=cmd|calc", id(base+"/images/handmade")),
		vm("lost", "shop", id(strings.Replace(web, "goldens", "else", 1)+"/versions/1.0.0")),
		`{"id":"` + base + `/virtualMachineScaleSets/set","type":"Microsoft.Compute/virtualMachineScaleSets","virtualMachineProfile":{"storageProfile":{"imageReference":{"id":"` + web + `/versions/1.0.1"}}}}`,
		`{"id":"` + base + `/disks/attached","managedBy":"` + base + `/virtualMachines/CURRENT","creationData":{"createOption":"Import"}}`,
		`{"id":"` + base + `/disks/loose","creationData":{"createOption":"Import"}}`,
		`{"id":"` + base + `/disks/data","creationData":{"createOption":"Empty"}}`,
		`{"id":"/subscriptions/x/resourceGroups/web","type":"Microsoft.Resources/resourceGroups"}`,
	}
	if err := ReadDocuments(strings.NewReader("["+strings.Join(documents, ",\n")+"]"), func(d json.RawMessage) error {
		e.Add(d, "test")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestFindings(t *testing.T) {
	r := estate(t, Options{}).Report()
	got := map[string]string{}
	for f := range r.Findings {
		got[f.Name] = string(f.State) + " " + string(f.Verdict)
	}
	want := map[string]string{
		"current": "approved-current compliant", "outdated": "approved-outdated compliant", "aged": "aged non-compliant", "revoked": "revoked non-compliant",
		"market": "unapproved-marketplace non-compliant", "handmade": "unapproved-custom non-compliant", "lost": "unknown unknown",
		"set": "aged non-compliant", "loose": "unapproved-custom non-compliant",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	wantCounts := Counts{Total: 9, Compliant: 2, NonCompliant: 6, Unknown: 1}
	if diff := cmp.Diff(wantCounts, r.Summary.Counts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]*Counts{"shop": {3, 2, 0, 1}, "pay": {2, 0, 2, 0}, "(none)": {3, 0, 3, 0}, "=cmd|calc": {1, 0, 1, 0}}, r.Summary.ByTeam); diff != "" {
		t.Error(diff)
	}
	all := estate(t, Options{AllDisks: true}).Report()
	if all.Summary.Total != 10 {
		t.Errorf("with all disks there are %d findings", all.Summary.Total)
	}
}

func TestTableOfVerdicts(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "audit.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(data), "| state | verdict | what to do |\n")
	if !ok {
		t.Fatal("docs/audit.md has no table of verdicts")
	}
	seen := 0
	for _, line := range strings.Split(table, "\n")[1:] {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			break
		}
		seen++
		state, verdict := lineage.State(strings.TrimSpace(cells[1])), strings.TrimSpace(cells[2])
		if got := VerdictOf(state); string(got) != verdict {
			t.Errorf("%s is %s, documented as %s", state, got, verdict)
		}
	}
	if seen != len(lineage.States()) {
		t.Errorf("the table has %d states of %d", seen, len(lineage.States()))
	}
}

func TestDocumentedLists(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "audit.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range Formats() {
		if !strings.Contains(string(data), "| `"+format+"` |") {
			t.Errorf("docs/audit.md does not describe the format %s", format)
		}
	}
}

// TestRule: the well-known rule, as its publishers describe it.
func TestRule(t *testing.T) {
	for name, want := range map[string]bool{
		base + "/images/handmade":               true,
		strings.ToUpper(base) + "/IMAGES/X":     true,
		web + "/versions/1.0.3":                 false,
		web:                                     false,
		"":                                      false,
		base + "/images/x/extra/y":              false,
		"/providers/Microsoft.Compute/images/x": false,
		"x" + base + "/images/handmade":         false,
		base + "/images/":                       false,
		"/subscriptions/s" + base + "/images/abc": false,
	} {
		if got := approvedMachineImage(name, Compliant); got.Pass != want || got.Explanation == "" {
			t.Errorf("%q: %+v", name, got)
		}
	}
}

func TestCommands(t *testing.T) {
	r := estate(t, Options{}).Report()
	commands := map[string]string{}
	for f := range r.Findings {
		commands[f.Name] = f.Command
		if (f.Command == "") != (f.State == lineage.ApprovedCurrent) || (f.Advice == "") != (f.Command == "") {
			t.Errorf("%s (%s): advice %q, command %q", f.Name, f.State, f.Advice, f.Command)
		}
	}
	const where = " -g web --subscription 11111111-2222-3333-4444-555555555555"
	for name, want := range map[string]string{
		"aged":   "az vm create" + where + " -n aged-new --image " + web + "/versions/1.0.3",
		"market": "az vm create" + where + " -n market-new --image " + web + "/versions/1.0.3",
		"set": "az vmss update" + where + " -n set --set virtualMachineProfile.storageProfile.imageReference.id=" + web + "/versions/1.0.3" +
			" && az vmss update-instances" + where + " -n set --instance-ids '*'",
		"lost": "az sig image-version list" + where + " -r else -i web",
	} {
		// The order of -g and --subscription is the same everywhere.
		if commands[name] != want {
			t.Errorf("%s: %s\nwant %s", name, commands[name], want)
		}
	}
}

// TestCommandsAreSafeToPaste: names come from documents.
func TestCommandsAreSafeToPaste(t *testing.T) {
	e := NewEstate(Options{Now: now})
	e.Add(json.RawMessage(version("1.0.0", "{}")), "")
	e.Add(json.RawMessage(vm("x; rm -rf ~ #", "", `{"publisher":"p","offer":"o","sku":"s"}`)), "")
	e.Add(json.RawMessage(vm("$(id)'\\u0007", "", `{"publisher":"p","offer":"o","sku":"s"}`)), "")
	for f := range e.Report().Findings {
		if !strings.Contains(f.Command, " -n 'x; rm -rf ~ #-new' ") && !strings.Contains(f.Command, ` -n '$(id)'\''\u0007-new' `) {
			t.Errorf("command is %s", f.Command)
		}
	}
}

func TestReadDocuments(t *testing.T) {
	doc := `{"id":"a","value2":[1]}`
	utf16 := []byte{0xff, 0xfe}
	for _, c := range "[" + doc + "]" {
		utf16 = append(utf16, byte(c), 0)
	}
	for name, c := range map[string]struct {
		text string
		want int
		bad  bool
	}{
		"array":           {"[" + doc + "," + doc + "]", 2, false},
		"object":          {doc, 1, false},
		"page":            {`{"nextLink":"x","value":[` + doc + "," + doc + `]}`, 2, false},
		"graph":           {`{"count":1,"data":[` + doc + `],"skipToken":null}`, 1, false},
		"empty page":      {`{"value":[]}`, 0, false},
		"concatenated":    {doc + "\n[" + doc + "]\n" + `{"value":[` + doc + "]}", 3, false},
		"nothing":         {"", 0, false},
		"byte order mark": {"\ufeff[" + doc + "]", 1, false},
		"UTF-16":          {string(utf16), 1, false},
		"cut off":         {"[" + doc + ",", 1, true},
		"no JSON":         {"ERROR: Please run 'az login'", 0, true},
		"a number":        {"5", 0, true},
		"too large":       {`["` + strings.Repeat("x", maxDocument+(1<<20)) + `"]`, 0, true},
		"deep":            {strings.Repeat("[", 20_000), 0, true},
	} {
		n := 0
		err := ReadDocuments(strings.NewReader(c.text), func(json.RawMessage) error { n++; return nil })
		if n != c.want || (err != nil) != c.bad || (err != nil && !errors.Is(err, ErrInput)) {
			t.Errorf("%s: %d documents, %v", name, n, err)
		}
	}
	stop := errors.New("stop")
	if err := ReadDocuments(strings.NewReader("["+doc+"]"), func(json.RawMessage) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("an error of the caller's became %v", err)
	}
}

func TestBadDocumentsAreProblems(t *testing.T) {
	e := NewEstate(Options{Now: now})
	e.Add(json.RawMessage(`{"id":5}`), "vms.json")
	e.Add(json.RawMessage(`"text"`), "vms.json")
	r := e.Report()
	if len(r.Problems) != 2 || !strings.HasPrefix(r.Problems[0], "vms.json: ") {
		t.Errorf("problems are %v", r.Problems)
	}
	if code := ExitCode(r, FailOn{"non-compliant"}); code != ExitProblems {
		t.Errorf("exit code %d", code)
	}
}

func TestTwiceCountsOnce(t *testing.T) {
	e := estate(t, Options{})
	before := e.Report().Summary.Total
	e.Add(json.RawMessage(strings.ToUpper(`{"ID":"`)+base+`/virtualMachines/CURRENT","type":"Microsoft.Compute/virtualMachines"}`), "")
	r := e.Report()
	if r.Summary.Total != before || r.Summary.ByState[lineage.ApprovedCurrent] != 0 {
		t.Errorf("the same machine counts twice: %+v", r.Summary)
	}
}

func TestExitCode(t *testing.T) {
	r := estate(t, Options{}).Report()
	for text, want := range map[string]int{
		"": ExitFindings, "none": ExitClean, "revoked": ExitFindings, "end-of-life": ExitClean, "unknown": ExitFindings,
		"outdated": ExitFindings, "unapproved": ExitFindings, "staged-only, end-of-life": ExitClean, "staged-only,AGED": ExitFindings,
	} {
		on, err := ParseFailOn(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := ExitCode(r, on); got != want {
			t.Errorf("%q: exit code %d, want %d", text, got, want)
		}
	}
	if _, err := ParseFailOn("agde"); err == nil {
		t.Error("a word that does not exist was accepted")
	}
}

func render(t *testing.T, format string) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, format, estate(t, Options{Version: "1.2.3"}).Report()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTableReport(t *testing.T) {
	out := string(render(t, "table"))
	for _, want := range []string{
		"MACHINE   GROUP  IMAGE", "revoked   web    goldens/web               1.0.0    revoked                 non-compliant  fail  version 1.0.0 was revoked: CVE-2026-1\n    replace it now: az vm create",
		"9 audited: 2 compliant, 6 non-compliant, 1 unknown\n", "by team:\n  (none)", "1 pass, 6 fail",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
}

func TestJSONReport(t *testing.T) {
	var report struct {
		Time     time.Time
		Findings []Finding
		Problems []string
		Summary  Summary
	}
	if err := json.Unmarshal(render(t, "json"), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Findings) != 9 || report.Summary.NonCompliant != 6 || !report.Time.Equal(now) || report.Findings[0].State != lineage.Revoked {
		t.Errorf("got %+v", report.Summary)
	}
}

func TestCSVReport(t *testing.T) {
	rows, err := csv.NewReader(bytes.NewReader(render(t, "csv"))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 10 || !slices.Equal(rows[0], CSVHeader()) {
		t.Errorf("%d rows, header %v", len(rows), rows[0])
	}
	team := slices.Index(rows[0], "team")
	for _, row := range rows[1:] {
		if strings.HasPrefix(row[team], "=") {
			t.Errorf("a spreadsheet would run %q", row[team])
		}
	}
}

func TestSARIFReport(t *testing.T) {
	var log struct {
		Version string
		Runs    []struct {
			Tool    struct{ Driver struct{ Rules []sarif.Rule } }
			Results []sarif.Result
		}
	}
	decoder := json.NewDecoder(bytes.NewReader(render(t, "sarif")))
	if err := decoder.Decode(&log); err != nil {
		t.Fatal(err)
	}
	if log.Version != "2.1.0" || len(log.Runs) != 1 || len(log.Runs[0].Results) != 9 {
		t.Fatalf("got %d runs", len(log.Runs))
	}
	rules := log.Runs[0].Tool.Driver.Rules
	for _, r := range log.Runs[0].Results {
		if rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("rule %d is %s, not %s", r.RuleIndex, rules[r.RuleIndex].ID, r.RuleID)
		}
		if (r.Kind == "fail") == (r.Level == "none") {
			t.Errorf("kind %s with level %s", r.Kind, r.Level)
		}
		if uri := r.Locations[0].PhysicalLocation.ArtifactLocation.URI; strings.HasPrefix(uri, "/") || uri == "" {
			t.Errorf("the location is %q", uri)
		}
	}
}

func TestJUnitReport(t *testing.T) {
	var suites struct {
		Failures int `xml:"failures,attr"`
		Suite    struct {
			Tests  int          `xml:"tests,attr"`
			Errors int          `xml:"errors,attr"`
			Cases  []junit.Case `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal(render(t, "junit"), &suites); err != nil {
		t.Fatal(err)
	}
	failures, errs := 0, 0
	for _, c := range suites.Suite.Cases {
		if c.Failure != nil {
			failures++
		}
		if c.Error != nil {
			errs++
		}
	}
	if len(suites.Suite.Cases) != suites.Suite.Tests || failures != suites.Failures || errs != suites.Suite.Errors || failures != 6 || errs != 1 {
		t.Errorf("%d cases, %d failures, %d errors; the header says %+v", len(suites.Suite.Cases), failures, errs, suites.Failures)
	}
}

func TestOCSFReport(t *testing.T) {
	decoder := json.NewDecoder(bytes.NewReader(render(t, "ocsf")))
	n := 0
	for ; ; n++ {
		var e ocsfEvent
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if e.ClassUID != 2003 || e.TypeUID != e.ClassUID*100+e.ActivityID || e.Time != now.UnixMilli() || e.FindingInfo.UID == "" || len(e.Resources) != 1 || len(e.Compliance.Standards) == 0 {
			t.Errorf("event %+v", e)
		}
	}
	if n != 9 {
		t.Errorf("%d events", n)
	}
}

// TestHTMLReport parses it as a browser does and looks for what would make it
// less than self-contained, or unsafe.
func TestHTMLReport(t *testing.T) {
	e := estate(t, Options{})
	e.Add(json.RawMessage(vm("<script>alert(1)</script>", "<b>", id(`javascript:alert(1)"`))), "")
	var b bytes.Buffer
	if err := Write(&b, "html", e.Report()); err != nil {
		t.Fatal(err)
	}
	root, err := html.Parse(&b)
	if err != nil {
		t.Fatal(err)
	}
	rows, headers := 0, 0
	for n := range root.Descendants() {
		switch n.Data {
		case "script", "img", "link", "iframe", "b":
			if n.Type == html.ElementNode && !(n.Data == "b" && n.Parent.Data == "li") {
				t.Errorf("there is an element <%s>", n.Data)
			}
		case "th":
			if n.Type == html.ElementNode {
				headers++
				if !slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "scope" }) {
					t.Error("a header cell has no scope")
				}
			}
		case "tr":
			rows++
		}
		for _, a := range n.Attr {
			if a.Key == "src" || (a.Key == "href" && !strings.HasPrefix(a.Val, "#")) || strings.HasPrefix(a.Key, "on") {
				t.Errorf("there is an attribute %s=%s", a.Key, a.Val)
			}
		}
	}
	if rows < 10 || headers < 20 {
		t.Errorf("only %d rows and %d header cells", rows, headers)
	}
}

func TestUnknownFormat(t *testing.T) {
	if err := Write(io.Discard, "pdf", NewEstate(Options{}).Report()); err == nil || !strings.Contains(err.Error(), "ocsf") {
		t.Errorf("got %v", err)
	}
}

func TestEmptyEstate(t *testing.T) {
	for _, format := range Formats() {
		var b bytes.Buffer
		if err := Write(&b, format, NewEstate(Options{Now: now}).Report()); err != nil {
			t.Errorf("%s: %v", format, err)
		}
		if format == "json" || format == "sarif" {
			if !json.Valid(b.Bytes()) {
				t.Errorf("%s is not JSON: %s", format, b.Bytes())
			}
		}
	}
}

func FuzzReport(f *testing.F) {
	f.Add([]byte("[" + version("1.0.0", "{}") + "," + vm("a", "b", id(web)) + "]"))
	f.Add([]byte(vm("a", "b", `{"publisher":"p"}`)))
	f.Add([]byte(`{"value":[{"id":"/a/disks/x","type":"microsoft.compute/disks"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		e := NewEstate(Options{Now: now})
		if err := ReadDocuments(bytes.NewReader(data), func(d json.RawMessage) error { e.Add(d, "x"); return nil }); err != nil {
			return
		}
		r := e.Report()
		for _, format := range Formats() {
			var b bytes.Buffer
			if err := Write(&b, format, r); err != nil {
				t.Errorf("%s: %v", format, err)
			}
			if (format == "json" || format == "sarif") && !json.Valid(b.Bytes()) {
				t.Errorf("%s is not JSON", format)
			}
			if format == "junit" && xml.Unmarshal(b.Bytes(), new(struct{ XMLName xml.Name })) != nil {
				t.Error("junit is not XML")
			}
		}
	})
}

// An instance that is behind its scale set's model is a finding of its own, and is updated,
// not made anew.
func TestInstanceBehindItsModel(t *testing.T) {
	e := NewEstate(Options{Now: now})
	set := base + "/virtualMachineScaleSets/set"
	for _, d := range []string{
		version("1.0.1", `{"hallmark-state":"aged"}`), version("1.0.3", `{"hallmark-state":"published"}`),
		`{"id":"` + set + `","virtualMachineProfile":{"storageProfile":{"imageReference":{"id":"` + web + `"}}}}`,
		`{"id":"` + set + `/virtualMachines/0","name":"set_0","storageProfile":{"imageReference":{"id":"` + web + `","exactVersion":"1.0.1"}}}`,
		`{"id":"` + set + `/virtualMachines/1","name":"set_1","storageProfile":{"imageReference":{"id":"` + web + `","exactVersion":"1.0.3"}}}`,
	} {
		e.Add(json.RawMessage(d), "test")
	}
	got := map[string]string{}
	for f := range e.Report().Findings {
		got[f.Name] = string(f.State) + ": " + f.Command
	}
	where := "az vmss update-instances -g " + segment(base, "resourcegroups") + " --subscription " + segment(base, "subscriptions") + " -n set --instance-ids 0"
	if diff := cmp.Diff(map[string]string{"set": "approved-current: ", "set_0": "aged: " + where, "set_1": "approved-current: "}, got); diff != "" {
		t.Error(diff)
	}
}
