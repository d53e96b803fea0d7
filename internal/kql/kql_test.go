package kql_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"hallmark.dev/hallmark/internal/kql"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// resources is a small table: texts, a text that is JSON, and members of the body.
var resources = &kql.Table{Name: "Resources", Columns: []kql.Column{
	{Name: "id", Text: 0}, {Name: "name", Text: 1}, {Name: "type", Text: 2}, {Name: "location", Text: 3},
	{Name: "tags", Type: kql.TypeDynamic, Text: 4},
	{Name: "kind", Member: "kind"}, {Name: "properties", Type: kql.TypeDynamic, Member: "properties"},
}}

var others = &kql.Table{Name: "Others", Columns: []kql.Column{{Name: "id", Text: 0}, {Name: "extra", Text: 1}}}

type world struct {
	rows    map[string][]kql.Record
	wants   []kql.Want
	fetched int
}

func (w *world) Scan(t *kql.Table, want kql.Want, f func(*kql.Record) error) error {
	w.wants = append(w.wants, want)
	for _, r := range w.rows[t.Name] {
		if !want.Bodies && r.Body != nil {
			body := r.Body
			r.Body, r.Fetch = nil, func() ([]byte, error) { w.fetched++; return body, nil }
		}
		if err := f(&r); err != nil {
			return err
		}
	}
	return nil
}

func row(name, typ, location, tags, body string) kql.Record {
	return kql.Record{Text: []string{"/x/" + name, name, typ, location, tags}, Body: []byte(body)}
}

func estate() *world {
	return &world{rows: map[string][]kql.Record{
		"Resources": {
			row("web1", "microsoft.compute/virtualmachines", "eastus", `{"team":"Blue","Cost Center":"7"}`, `{"kind":"app","properties":{"hardwareProfile":{"vmSize":"Standard_D2"},"zones":["1","2"],"size":30,"when":"2026-02-20T00:00:00Z","on":true,"price":1.5}}`),
			row("web2", "microsoft.compute/virtualmachines", "westeurope", `{"team":"blue"}`, `{"properties":{"hardwareProfile":{"vmSize":"Standard_D4"},"zones":[],"size":10,"when":"2026-03-01T00:00:00Z","on":false}}`),
			row("db-1", "microsoft.compute/virtualmachines", "eastus", "", `{"properties":{"hardwareProfile":{"vmSize":"Standard_D2"},"size":20,"disks":[{"lun":0,"name":"a"},{"lun":1,"name":"b"}]}}`),
			row("net", "microsoft.network/virtualnetworks", "eastus", `{}`, `{"properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/8"]}}}`),
		},
		"Others": {{Text: []string{"/x/net", "more"}}, {Text: []string{"/y/z", ""}}},
	}}
}

func run(w *world, query string, o kql.Options) (*kql.Result, error) {
	q, err := kql.Parse(query)
	if err != nil {
		return nil, err
	}
	p, err := kql.Compile(q, []*kql.Table{resources, others})
	if err != nil {
		return nil, err
	}
	if o.Top == 0 {
		o.Top = 1000
	}
	o.Now = noon
	return p.Run(w, o)
}

// show is a result as a line for each row.
func show(r *kql.Result) string {
	var names []string
	for _, c := range r.Columns {
		names = append(names, c.Name)
	}
	out := strings.Join(names, " ")
	for _, row := range r.Rows {
		out += "\n"
		for i, v := range row {
			if i > 0 {
				out += " "
			}
			out += string(v.AppendJSON(nil))
		}
	}
	return out
}

func TestQueries(t *testing.T) {
	for query, want := range map[string]string{
		"Resources | where type =~ 'Microsoft.Compute/virtualMachines' | project name, location":                                                    "name location\n\"web1\" \"eastus\"\n\"web2\" \"westeurope\"\n\"db-1\" \"eastus\"",
		"resources | where type == 'microsoft.network/virtualnetworks' | project n=name, properties.addressSpace.addressPrefixes[0]":                "n properties_addressSpace_addressPrefixes_0\n\"net\" \"10.0.0.0/8\"",
		"Resources | summarize count() by tostring(properties.hardwareProfile.vmSize) | sort by count_ desc, properties_hardwareProfile_vmSize asc": "properties_hardwareProfile_vmSize count_\n\"Standard_D2\" 2\n\"\" 1\n\"Standard_D4\" 1",
		"Resources | count": "Count\n4",
		"count":             "Count\n4",
		"where name == 'x' | summarize n=count(), m=max(toint(properties.size))":                                                                               "n m\n0 null",
		"Resources | where name == 'x' | summarize count() by type":                                                                                            "type count_",
		"Resources | where tags['team'] =~ 'BLUE' | project name, cost=tags['Cost Center']":                                                                    "name cost\n\"web1\" \"7\"\n\"web2\" null",
		"Resources | where tags.team == 'Blue' and location in~ ('EASTUS', 'north') | project name":                                                            "name\n\"web1\"",
		"Resources | where properties.size between (10 .. 20) | order by name asc | project name, properties.size":                                             "name properties_size\n\"db-1\" 20\n\"web2\" 10",
		"Resources | top 2 by properties.size desc | project name":                                                                                             "name\n\"web1\"\n\"db-1\"",
		"Resources | order by toint(properties.size) asc nulls last | project name | take 3":                                                                   "name\n\"web2\"\n\"db-1\"\n\"web1\"",
		"Resources | order by toint(properties.size) asc | project name | limit 2":                                                                             "name\n\"net\"\n\"web2\"",
		"Resources | distinct location | order by location asc":                                                                                                "location\n\"eastus\"\n\"westeurope\"",
		"Resources | where name has 'db' | project name":                                                                                                       "name\n\"db-1\"",
		"Resources | where name !has 'web' and name contains 'E' | project name":                                                                               "name\n\"web1\"\n\"web2\"\n\"net\"",
		"Resources | where name startswith 'WEB' and name endswith '2' | project name":                                                                         "name\n\"web2\"",
		"Resources | where name matches regex @'^web\\d$' | summarize make_list(name)":                                                                         "list_name\n[\"web1\",\"web2\"]",
		"Resources | where isnotempty(tags.team) | extend t=tolower(tostring(tags.team)) | summarize dcount(t), make_set(t), countif(name=='web1')":            "dcount_t set_t countif_\n1 [\"blue\"] 1",
		"Resources | extend parts=split(id,'/') | where array_length(properties.zones) == 2 | project last=parts[2], first=parts[-1], none=parts[9]":           "last first none\n\"web1\" \"web1\" null",
		"Resources | where name=='web1' | project a=iff(properties.on, 'y', 'n'), b=case(name=='x',1,name=='web1',2,3), c=coalesce(tags.nope, kind)":           "a b c\n\"y\" 2 \"app\"",
		"Resources | where name=='web1' | project strcat(name,'-',location), substring(name,0,3), strlen(name), indexof(name,'b'), extract('([0-9]+)',1,name)": "Column1 Column2 Column3 Column4 Column5\n\"web1-eastus\" \"web\" 4 2 \"1\"",
		"Resources | where todatetime(properties.when) > ago(7d) | project name":                                                                               "name\n\"web2\"",
		"Resources | where properties.when < datetime(2026-02-25) | project name, age=now() - todatetime(properties.when)":                                     "name age\n\"web1\" \"9.12:00:00\"",
		"Resources | project-away properties, tags, id, type, location | project-rename label=name | take 1":                                                   "label kind\n\"web1\" \"app\"",
		"Resources | project-keep n*, loc* | take 1":                                                                                                           "name location\n\"web1\" \"eastus\"",
		"Resources | union Others | where id == '/x/net' | project id, extra, name":                                                                            "id extra name\n\"/x/net\" null \"net\"\n\"/x/net\" \"more\" null",
		"union (Resources | where name == 'net' | project id), (Others | project id, extra) | count":                                                           "Count\n3",
		"Resources | summarize arg_max(toint(properties.size), name) by location | order by location asc":                                                      "location properties_size name\n\"eastus\" 30 \"web1\"\n\"westeurope\" 10 \"web2\"",
		"Resources | summarize avg(toint(properties.size)), sum(properties.size), min(name)":                                                                   "avg_properties_size sum_properties_size min_name\n20 60 \"db-1\"",
		"Resources | summarize total=round(avg(todouble(properties.price))*2, 1) by k=kind | where k == 'app'":                                                 "k total\n\"app\" 3",
		"Resources | where properties.disks[1].name == 'b' | project name, l=tolong(properties['disks'][1]['lun']) + 1":                                        "name l\n\"db-1\" 2",
		"Resources | where properties.nothing != 'x' | count":                                                                                                  "Count\n4",
		"Resources | where not(properties.on == true) and isnotnull(properties.on) | project name":                                                             "name\n\"web2\"",
		"Resources | where properties contains '10.0.0' | project name":                                                                                        "name\n\"net\"",
		"Resources | where location has_any ('westEurope', 'EASTUS') and name in ('net', 'web2') | project name":                                               "name\n\"web2\"\n\"net\"",
		"Resources | extend x = 1, y = x + 1 | extend x = y * 2 | project x, y | take 1":                                                                       "x y\n4 2",
		"Resources // all\n| where\n name == \"net\" // one\n| project ['name'], ['a b'] = 1":                                                                  "name a b\n\"net\" 1",
		"Resources | summarize by location | count":                                                                                                            "Count\n2",
		"Resources | where name == 'web1' | project parse_json('{\"a\":[1,2]}').a[1], dynamic({\"x\":3}).x":                                                    "Column1 Column2\n2 3",
		"Resources | extend b = bin(toint(properties.size), 20) | summarize count() by b | order by b asc":                                                     "b count_\nnull 1\n0 1\n20 2",
		"Resources | where properties.hardwareprofile.VMSIZE =~ 'standard_d4' | project name":                                                                  "name\n\"web2\"",
		"Resources | take 2 | where name == 'db-1'":                                                                                                            "id name type location tags kind properties",
		"Resources | project Name | take 1":                                                                                                                    "Name\n\"web1\"",
	} {
		r, err := run(estate(), query, kql.Options{})
		if err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if diff := cmp.Diff(want, show(r)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", query, diff)
		}
	}
}

func TestErrorsSayWhatAndWhere(t *testing.T) {
	for query, want := range map[string]string{
		"Resources | join kind=inner (Others) on id":                   "InvalidQueryLanguage 1:12 join",
		"Resources\n| mv-expand tags":                                  "InvalidQueryLanguage 2:2 mv-expand",
		"let x = 1; Resources":                                         "InvalidQueryLanguage 1:0 let",
		"Resources | where frobnicate(name)":                           "InvalidQueryLanguage 1:18 frobnicate",
		"Resources | where name = 'x'":                                 "ParserFailure 1:23 =",
		"Resources | where name == 'x":                                 "ParserFailure 1:26 'x",
		"Resources | where":                                            "ParserFailure 1:17 ",
		"Resources | project nme":                                      "SemanticError 1:20 nme",
		"Nowhere | count":                                              "SemanticError 1:0 Nowhere",
		"Resources | where count() > 1":                                "SemanticError 1:18 count",
		"Resources | summarize name":                                   "SemanticError 1:22 name",
		"Resources | where tolower() == 'x'":                           "SemanticError 1:18 tolower",
		"Resources | where name matches regex '('":                     "ParserFailure 1:37 '('",
		"Resources | where name matches regex 'a{1000}b{1000}c{1000}'": "QueryTooLarge 1:37 'a{1000}b{1000}c{1000}'",
		"Resources | frobnicate":                                       "ParserFailure 1:12 frobnicate",
		"Resources | where " + strings.Repeat("(", 200):                "QueryTooLarge 1:117 (",
		"Resources | where name == '\x00' ^ 1":                         "ParserFailure 1:30 ^",
		"Resources | project ä":                                        "ParserFailure 1:20 ä",
		"Resources | extend a = strrep(name, 1024), b = 1 | extend c = strrep(a, 1024) | project strcat(c, c, c)": "QueryTooLarge 1:88 strcat",
	} {
		_, err := run(estate(), query, kql.Options{})
		var e *kql.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", query, err)
			continue
		}
		if got := fmt.Sprintf("%s %d:%d %s", e.Code, e.Pos.Line, e.Pos.Column, e.Token); got != want {
			t.Errorf("%s: %s (%v), want %s", query, got, err, want)
		}
	}
}

func TestPagesAndTotals(t *testing.T) {
	for _, query := range []string{"Resources | project name", "Resources | order by name asc | project name", "Resources | summarize count() by name", "Resources | order by name asc | take 4 | project name"} {
		var got []string
		for skip := 0; skip < 4; skip += 2 {
			r, err := run(estate(), query, kql.Options{Skip: skip, Top: 2})
			if err != nil || r.Total != 4 || len(r.Rows) != 2 {
				t.Fatalf("%s: %v, %v", query, r, err)
			}
			for _, row := range r.Rows {
				got = append(got, row[0].Text())
			}
		}
		if len(got) != 4 {
			t.Errorf("%s: %v", query, got)
		}
	}
	w := estate()
	if r, err := run(w, "Resources", kql.Options{Top: 1}); err != nil || r.Total != 4 || w.fetched != 1 || w.wants[0].Bodies {
		t.Errorf("one row was to be fetched of 4: %d, %+v, %v", w.fetched, w.wants, err)
	}
}

func TestWhatIsPushedDown(t *testing.T) {
	for query, want := range map[string]string{
		"Resources | where type =~ 'A/b' and name in ('x','y') | project id":                     `[{"Column":"type","Values":["A/b"]},{"Column":"name","Values":["x","y"]}]`,
		"Resources | where type == 'a' or type =~ 'b' | where tolower(location) == tolower('E')": `[{"Column":"type","Values":["a","b"]},{"Column":"location","Values":["e"]}]`,
		"Resources | extend type = 'x' | where type == 'x'":                                      `null`,
		"Resources | project kind=name, type | where kind == 'n'":                                `[{"Column":"name","Values":["n"]}]`,
		"Resources | take 1 | where type == 'a'":                                                 `null`,
		"Resources | where type != 'a' or name == 'x'":                                           `null`,
		"Resources | where kind == 'a' and tags.x == 'y'":                                        `null`,
		"Resources | where type == 'a' or name == 'x'":                                           `null`,
	} {
		w := estate()
		if _, err := run(w, query, kql.Options{}); err != nil {
			t.Errorf("%s: %v", query, err)
			continue
		}
		raw, _ := json.Marshal(w.wants[0].Filter)
		if string(raw) != want {
			t.Errorf("%s: %s, want %s", query, raw, want)
		}
	}
}

func TestBodiesAreReadOnlyWhenNeeded(t *testing.T) {
	for query, bodies := range map[string]bool{
		"Resources | where type == 'a'":                                           false,
		"Resources | summarize count() by location":                               false,
		"Resources | extend a = properties.size | summarize count() by type":      false,
		"Resources | extend a = properties.size | summarize sum(a)":               true,
		"Resources | where properties.size > 1 | project name":                    true,
		"Resources | project name, properties.size":                               false,
		"Resources | project name, properties | order by name asc | project name": false,
	} {
		w := estate()
		if _, err := run(w, query, kql.Options{}); err != nil || w.wants[0].Bodies != bodies {
			t.Errorf("%s: bodies %v, %v", query, w.wants[0].Bodies, err)
		}
	}
}

func TestMemoryAndTimeAreBounded(t *testing.T) {
	w := estate()
	for i := range 20_000 {
		w.rows["Resources"] = append(w.rows["Resources"], row(fmt.Sprint("n", i), "t", "l", "", `{"properties":{"x":"`+strings.Repeat("y", 500)+`"}}`))
	}
	var e *kql.Error
	for _, query := range []string{"Resources | order by name asc | where 1 == 1", "Resources | summarize make_list(properties)", "Resources | summarize by tostring(properties), name"} {
		if _, err := run(w, query, kql.Options{Budget: kql.Budget{Memory: 1 << 20, Text: 1 << 20}}); !errors.As(err, &e) || e.Code != kql.CodeTooLarge {
			t.Errorf("%s: %v", query, err)
		}
	}
	if _, err := run(w, "Resources | order by name asc", kql.Options{Top: 10, Budget: kql.Budget{Memory: 1 << 20, Text: 1 << 20}}); err != nil {
		t.Errorf("a page of a sorted result: %v", err)
	}
	big := estate()
	big.rows["Resources"] = append(big.rows["Resources"], row("big", "t", "l", "", `{"properties":{"x":"`+strings.Repeat("a", 1<<20)+`b"}}`))
	if _, err := run(big, "Resources | where tostring(properties.x) matches regex '(a{900}|a)*c'", kql.Options{}); !errors.As(err, &e) || e.Code != kql.CodeTooLarge {
		t.Errorf("a regular expression that takes long: %v", err)
	}
	if r, err := run(big, "Resources | where properties has 'aab' or properties endswith 'b\"}' | project name", kql.Options{}); err != nil || r.Total != 1 {
		t.Errorf("a long text: %v, %v", r, err)
	}
	stop := errors.New("stop")
	if _, err := run(w, "Resources | where properties has 'nothing'", kql.Options{Interrupt: func() error { return stop }}); !errors.Is(err, stop) {
		t.Errorf("it was not interrupted: %v", err)
	}
}
