package audit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
	"unique"

	"hallmark.dev/hallmark/internal/lineage"
)

// Options adjust an audit.
type Options struct {
	// Now is the time of the audit; ages and ends of life are measured at it.
	Now time.Time

	// TeamTag is the tag that names a resource's team; empty means "team".
	TeamTag string

	// Galleries and Current are lineage's.
	Galleries []string
	Current   int

	// AllDisks also reports disks that are attached to a machine in the same
	// report.
	AllDisks bool

	// Version is Hallmark's, for the reports' headers.
	Version string
}

func (o Options) lineage() lineage.Options {
	return lineage.Options{Now: o.Now, Galleries: o.Galleries, Current: o.Current}
}

// Estate collects what documents say. It keeps a short record for each machine,
// disk and version, not the documents.
type Estate struct {
	options  Options
	catalog  *lineage.Catalog
	subjects []subject
	index    map[string]int // id in lower case → subjects
	problems []string
	ignored  int
}

// subject is a lineage.Subject without its tags, but with its team.
type subject struct {
	lineage.Subject
	team string
}

// NewEstate is an empty estate.
func NewEstate(o Options) *Estate {
	if o.TeamTag == "" {
		o.TeamTag = "team"
	}
	return &Estate{options: o, catalog: lineage.NewCatalog(), index: map[string]int{}}
}

// maxProblems bounds what is kept about documents that cannot be read.
const maxProblems = 1000

// Add takes over one document. source is where it came from, for messages. A
// document that cannot be read becomes a problem of the report, not an end of
// the audit; one that is added twice counts once, as it was added last.
func (e *Estate) Add(document json.RawMessage, source string) {
	d, err := lineage.Read(document)
	switch {
	case err != nil:
		e.Problem(fmt.Sprintf("%s: %v", source, err))
		return
	case d.Kind == lineage.KindOther:
		e.ignored++
		return
	}
	e.catalog.Add(d)
	if d.Subject != nil {
		e.addSubject(*d.Subject)
	}
}

// Problem records something that leaves a hole in the audit.
func (e *Estate) Problem(text string) {
	if len(e.problems) < maxProblems {
		e.problems = append(e.problems, text)
	}
}

func (e *Estate) addSubject(s lineage.Subject) {
	team := foldTag(s.Tags, e.options.TeamTag)
	s.Tags = nil
	for _, text := range []*string{
		&s.Location, &s.Type, &s.Reference.GalleryID, &s.Reference.Gallery, &s.Reference.Definition, &s.Reference.Version,
		&s.Reference.Publisher, &s.Reference.Offer, &s.Reference.SKU, &s.Reference.ID, &s.RawID, &team,
	} {
		*text = unique.Make(*text).Value() // the same few values in a whole estate
	}
	k := strings.ToLower(s.ID)
	if i, ok := e.index[k]; ok && s.ID != "" {
		e.subjects[i] = subject{s, team}
		return
	}
	e.index[k] = len(e.subjects)
	e.subjects = append(e.subjects, subject{s, team})
}

func foldTag(tags map[string]string, name string) string {
	for k, v := range tags {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// Report is a judged estate. Findings can be gone through any number of times;
// each is made when it is asked for.
type Report struct {
	Summary  Summary
	Problems []string
	Now      time.Time
	Version  string
	Findings iter.Seq[Finding]
}

// Report judges the estate: worst states first, then by id.
func (e *Estate) Report() *Report {
	judge := newJudge(e)
	type entry struct{ subject, rank int }
	var order []entry
	r := &Report{Problems: e.problems, Now: e.options.Now, Version: e.options.Version, Summary: newSummary()}
	for i := range e.subjects {
		f, ok := judge.finding(&e.subjects[i])
		if !ok || (e.covered(&e.subjects[i]) && !e.options.AllDisks) {
			continue
		}
		r.Summary.add(f)
		order = append(order, entry{i, rank(f.Lineage.State)})
	}
	slices.SortFunc(order, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(e.subjects[a.subject].ID, e.subjects[b.subject].ID))
	})
	r.Findings = func(yield func(Finding) bool) {
		for _, entry := range order {
			if f, ok := judge.finding(&e.subjects[entry.subject]); ok && !yield(f) {
				return
			}
		}
	}
	return r
}

// covered says that a disk's machine is in the report too.
func (e *Estate) covered(s *subject) bool {
	if s.Kind != lineage.KindDisk || s.ManagedBy == "" {
		return false
	}
	_, ok := e.index[strings.ToLower(s.ManagedBy)]
	return ok
}

func rank(s lineage.State) int { return slices.Index(lineage.States(), s) }
