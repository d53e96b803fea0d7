package lineage

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"
)

// judge fills in everything that a known gallery version has to say.
func (d *definition) judge(l *Lineage, v *entry, o Options) {
	l.VersionID, l.ImageDigest = v.ID, v.ImageDigest
	l.facts(v.Tags)
	if published := v.PublishedDate; !published.IsZero() {
		l.PublishedDate = &published
		l.DaysSincePublished = max(int(o.Now.Sub(v.PublishedDate)/(24*time.Hour)), 0)
	}
	if end := d.endOfLife(v); !end.IsZero() {
		l.EndOfLifeDate = &end
	}
	for newer := range d.released(o.Now) {
		if l.LatestVersion == "" {
			l.LatestVersion = newer.Name
		}
		if newer.compare(v) <= 0 {
			break
		}
		l.VersionsBehind++
	}
	l.State, l.Why = d.state(l, v, o)
}

// state applies the precedence: the first case that holds is the answer.
func (d *definition) state(l *Lineage, v *entry, o Options) (State, string) {
	mark := strings.ToLower(tag(v.Tags, TagState))
	switch {
	case mark == MarkRevoked:
		return Revoked, fmt.Sprintf("version %s was revoked%s", v.Name, because(v.Tags))
	case d.ended(v, o.Now):
		return EndOfLife, fmt.Sprintf("version %s reached its end of life on %s", v.Name, d.endOfLife(v).Format(time.DateOnly))
	case mark == MarkStaged:
		return StagedOnly, fmt.Sprintf("version %s is staged: it has not passed its tests", v.Name)
	case mark == "" && v.ExcludeFromLatest:
		return StagedOnly, fmt.Sprintf("version %s is excluded from latest and carries no mark of a publication", v.Name)
	case mark == MarkAged:
		return Aged, fmt.Sprintf("version %s is marked as aged%s", v.Name, l.behind())
	case mark == MarkPublished && l.VersionsBehind >= d.current(v, o):
		return Aged, fmt.Sprintf("version %s is not among the newest %d%s", v.Name, d.current(v, o), l.behind())
	case l.VersionsBehind > 0:
		return ApprovedOutdated, fmt.Sprintf("version %s is approved, but not the newest%s", v.Name, l.behind())
	case v.ExcludeFromLatest:
		return ApprovedOutdated, fmt.Sprintf("version %s was published, but has been taken out of latest", v.Name)
	case !ready(v):
		return StagedOnly, fmt.Sprintf("version %s is not ready: its provisioning state is %s", v.Name, v.ProvisioningState)
	}
	return ApprovedCurrent, fmt.Sprintf("version %s is the newest", v.Name)
}

func (l *Lineage) behind() string {
	switch l.VersionsBehind {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(": %s is newer", l.LatestVersion)
	}
	return fmt.Sprintf(": %d versions are newer, the newest is %s", l.VersionsBehind, l.LatestVersion)
}

// current is how many of the newest versions count as approved.
func (d *definition) current(v *entry, o Options) int {
	if o.Current > 0 {
		return o.Current
	}
	for _, tags := range []map[string]string{v.Tags, d.Tags} {
		if n, err := strconv.Atoi(tag(tags, TagLifecycleCurrent)); err == nil && n > 0 {
			return n
		}
	}
	return defaultCurrent
}

// released are the versions that a new machine may get, highest first.
func (d *definition) released(now time.Time) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for i := range d.versions {
			v := &d.versions[i]
			mark := strings.ToLower(tag(v.Tags, TagState))
			if v.ExcludeFromLatest || mark == MarkStaged || mark == MarkRevoked || !ready(v) || d.ended(v, now) {
				continue
			}
			if !yield(v) {
				return
			}
		}
	}
}

// newest is what `latest` stands for, less what has ended or was revoked.
func (d *definition) newest(now time.Time) (*entry, bool) {
	for v := range d.released(now) {
		return v, true
	}
	return nil, false
}

func ready(v *entry) bool {
	return v.ProvisioningState == "" || strings.EqualFold(v.ProvisioningState, "Succeeded") || strings.EqualFold(v.ProvisioningState, "Updating")
}

// endOfLife is the earlier one of the version's and its definition's.
func (d *definition) endOfLife(v *entry) time.Time {
	a, b := v.EndOfLifeDate, d.EndOfLifeDate
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

func (d *definition) ended(v *entry, now time.Time) bool {
	end := d.endOfLife(v)
	return !end.IsZero() && !now.Before(end)
}
