package audit

import (
	"encoding/json"
	"io"
	"strings"
)

// ocsfEvent is OCSF 1.3.0's Compliance Finding, class 2003, with the cloud
// profile: the attributes that the class requires or recommends and we know.
type ocsfEvent struct {
	ActivityID   int             `json:"activity_id"`
	ActivityName string          `json:"activity_name"`
	CategoryUID  int             `json:"category_uid"`
	CategoryName string          `json:"category_name"`
	ClassUID     int             `json:"class_uid"`
	ClassName    string          `json:"class_name"`
	TypeUID      int             `json:"type_uid"`
	TypeName     string          `json:"type_name"`
	Time         int64           `json:"time"` // milliseconds since 1970
	SeverityID   int             `json:"severity_id"`
	Severity     string          `json:"severity"`
	StatusID     int             `json:"status_id"`
	Status       string          `json:"status"`
	Message      string          `json:"message"`
	Metadata     ocsfMetadata    `json:"metadata"`
	Cloud        ocsfCloud       `json:"cloud"`
	FindingInfo  ocsfFindingInfo `json:"finding_info"`
	Compliance   ocsfCompliance  `json:"compliance"`
	Resources    []ocsfResource  `json:"resources"`
	Remediation  *ocsfRemedy     `json:"remediation,omitempty"`
	Unmapped     map[string]any  `json:"unmapped,omitempty"`
}

type ocsfMetadata struct {
	Version  string      `json:"version"`
	Product  ocsfProduct `json:"product"`
	Profiles []string    `json:"profiles"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version,omitempty"`
}

type ocsfCloud struct {
	Provider string       `json:"provider"`
	Region   string       `json:"region,omitempty"`
	Account  *ocsfAccount `json:"account,omitempty"`
}

type ocsfAccount struct {
	UID    string `json:"uid"`
	TypeID int    `json:"type_id"`
	Type   string `json:"type"`
}

type ocsfFindingInfo struct {
	UID         string   `json:"uid"`
	Title       string   `json:"title"`
	Description string   `json:"desc"`
	Types       []string `json:"types"`
	CreatedTime int64    `json:"created_time"`
}

type ocsfCompliance struct {
	Control      string   `json:"control"`
	Standards    []string `json:"standards"`
	StatusID     int      `json:"status_id"`
	Status       string   `json:"status"`
	StatusDetail string   `json:"status_detail"`
}

type ocsfResource struct {
	UID    string     `json:"uid"`
	Name   string     `json:"name"`
	Type   string     `json:"type"`
	Region string     `json:"region,omitempty"`
	Group  *ocsfGroup `json:"group,omitempty"`
	Labels []string   `json:"labels,omitempty"`
}

type ocsfGroup struct {
	Name string `json:"name"`
}

type ocsfRemedy struct {
	Description string `json:"desc"`
}

// writeOCSF writes one event a line.
func writeOCSF(w io.Writer, r *Report) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	for f := range r.Findings {
		if err := out.Encode(newOCSFEvent(f, r)); err != nil {
			return err
		}
	}
	return nil
}

// ocsfOtherAccount is OCSF's account type for what 1.3.0 has no number for; the
// type's name says what it is.
const ocsfOtherAccount = 99

func newOCSFEvent(f Finding, r *Report) ocsfEvent {
	now := r.Now.UnixMilli()
	level := severity(f.State)
	e := ocsfEvent{
		ActivityID: 1, ActivityName: "Create", CategoryUID: 2, CategoryName: "Findings",
		ClassUID: 2003, ClassName: "Compliance Finding", TypeUID: 200301, TypeName: "Compliance Finding: Create",
		Time: now, SeverityID: level + 1, Severity: []string{"Informational", "Low", "Medium", "High", "Critical"}[level],
		StatusID: 1, Status: "New", Message: f.Name + ": " + f.Reason,
		Metadata: ocsfMetadata{Version: "1.3.0", Product: ocsfProduct{"Hallmark", "Hallmark", r.Version}, Profiles: []string{"cloud"}},
		Cloud:    ocsfCloud{Provider: "Azure", Region: f.Location},
		FindingInfo: ocsfFindingInfo{
			UID: "hallmark-image-" + strings.ToLower(f.ID), Title: "Machine runs an approved, current image",
			Description: f.Reason, Types: []string{string(f.State)}, CreatedTime: now,
		},
		Compliance: ocsfCompliance{Control: "approved-image", Standards: []string{"Hallmark image lineage"}, StatusDetail: f.Reason},
		Resources:  []ocsfResource{{UID: f.ID, Name: f.Name, Type: f.Type, Region: f.Location}},
		Unmapped:   map[string]any{"image": f.Image, "image_version": f.Version, "image_state": f.State, "days_since_published": f.Lineage.DaysSincePublished},
	}
	e.Compliance.StatusID, e.Compliance.Status = ocsfStatus(f)
	if f.Subscription != "" {
		e.Cloud.Account = &ocsfAccount{f.Subscription, ocsfOtherAccount, "Azure Subscription"}
	}
	if f.ResourceGroup != "" {
		e.Resources[0].Group = &ocsfGroup{f.ResourceGroup}
	}
	if f.Team != "" {
		e.Resources[0].Labels = []string{"team:" + f.Team}
	}
	if f.Advice != "" {
		e.Remediation = &ocsfRemedy{f.Advice + ": " + f.Command}
	}
	if f.Rule != nil {
		e.Unmapped["approved_azure_machine_image_in_use"] = f.Rule
	}
	return e
}

// ocsfStatus uses OCSF's meanings: a Warning is a check that had too little
// information to answer.
func ocsfStatus(f Finding) (int, string) {
	switch f.Verdict {
	case NonCompliant:
		return 3, "Fail"
	case UnknownIf:
		return 2, "Warning"
	}
	return 1, "Pass"
}
