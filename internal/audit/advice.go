package audit

import (
	"fmt"
	"regexp"
	"strings"

	"hallmark.dev/hallmark/internal/lineage"
)

// advice says what to do about a finding, in words and as a command that can be
// pasted into a shell: everything in it that comes from a document is quoted.
func (j *judge) advice(s *subject, f *Finding) (text, command string) {
	switch f.State {
	case lineage.ApprovedCurrent:
		return "", ""
	case lineage.Unknown:
		return j.fillGap(s, f)
	case lineage.UnapprovedMarketplace, lineage.UnapprovedCustom:
		return "create it again from an approved image", j.recreate(s, f, j.suggestion(f))
	case lineage.ApprovedOutdated:
		return "replace it at the next refresh", j.recreate(s, f, j.newest(f))
	case lineage.Revoked:
		return "replace it now", j.recreate(s, f, j.newest(f))
	case lineage.StagedOnly:
		return "replace it, or let the version pass its tests", j.recreate(s, f, j.newest(f))
	}
	return "replace it with the newest version", j.recreate(s, f, j.newest(f))
}

// newest is the id of the newest released version of the finding's own image,
// or else what suggestion finds.
func (j *judge) newest(f *Finding) string {
	if l := &f.Lineage; l.LatestVersion != "" {
		return l.Reference.DefinitionID() + "/versions/" + l.LatestVersion
	}
	return j.suggestion(f)
}

// suggestion is an approved version that was built from the same marketplace
// image, or the only approved one that there is.
func (j *judge) suggestion(f *Finding) string {
	ref := f.Lineage.Reference
	if ref.Form == lineage.FormMarketplace {
		for _, a := range j.approved {
			if strings.HasPrefix(strings.ToLower(foldTag(a.Version.Tags, lineage.TagSource)), strings.ToLower(ref.String())) {
				return a.Version.ID
			}
		}
	}
	if len(j.approved) == 1 {
		return j.approved[0].Version.ID
	}
	return ""
}

func (j *judge) recreate(s *subject, f *Finding, image string) string {
	if image == "" {
		return "hallmark image list # choose an approved image, then create " + shell(f.Name) + " from it"
	}
	where := " -g " + shell(f.ResourceGroup)
	if f.Subscription != "" {
		where += " --subscription " + shell(f.Subscription)
	}
	if set := segment(s.ID, "virtualmachinescalesets"); set != "" && s.Kind == lineage.KindVM {
		return "az vmss update-instances" + where + " -n " + shell(set) + " --instance-ids " + shell(segment(s.ID, "virtualmachines"))
	}
	switch s.Kind {
	case lineage.KindScaleSet:
		update := "az vmss update-instances" + where + " -n " + shell(f.Name) + " --instance-ids '*'"
		if s.Reference.Form == lineage.FormGalleryLatest {
			return update
		}
		return "az vmss update" + where + " -n " + shell(f.Name) + " --set " + shell("virtualMachineProfile.storageProfile.imageReference.id="+image) + " && " + update
	case lineage.KindDisk:
		return "az disk create" + where + " -n " + shell(f.Name+"-new") + " --gallery-image-reference " + shell(image)
	}
	return "az vm create" + where + " -n " + shell(f.Name+"-new") + " --image " + shell(image)
}

// fillGap names the document that is missing.
func (j *judge) fillGap(s *subject, f *Finding) (text, command string) {
	const add = "add the missing document to the audit"
	ref := f.Lineage.Reference
	switch {
	case ref.Form == lineage.FormGalleryLatest && s.OSDiskID != "":
		return add, "az disk show --ids " + shell(s.OSDiskID)
	case ref.GalleryID != "":
		return add, fmt.Sprintf("az sig image-version list -g %s --subscription %s -r %s -i %s",
			shell(segment(ref.GalleryID, "resourcegroups")), shell(segment(ref.GalleryID, "subscriptions")), shell(ref.Gallery), shell(ref.Definition))
	case ref.Form == lineage.FormSharedGallery:
		return add, "az sig list"
	case ref.Form == lineage.FormDisk && strings.Contains(strings.ToLower(ref.ID), "/snapshots/"):
		return add, "az snapshot show --ids " + shell(ref.ID)
	case ref.Form == lineage.FormDisk:
		return add, "az disk show --ids " + shell(ref.ID)
	}
	return "find out what it was made from", "az resource show --ids " + shell(f.ID)
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]+$`)

// shell quotes a word for a POSIX shell: names come from documents, which may
// come from anybody, and commands are there to be pasted.
func shell(word string) string {
	if plainWord.MatchString(word) && !strings.HasPrefix(word, "-") {
		return word
	}
	return "'" + strings.ReplaceAll(plain(word), "'", `'\''`) + "'"
}

// plain makes control characters and what reverses writing visible as a
// replacement character.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return '\uFFFD'
		}
		return r
	}, s)
}
