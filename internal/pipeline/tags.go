package pipeline

// Marks on gallery versions. They are tags, because tags are what survives in
// any gallery, Azure's included.
const (
	TagState  = "hallmark-state"
	TagReason = "hallmark-reason" // why a version was revoked
	TagPlan   = "hallmark-plan"   // digest of the plan that made the version
	TagSource = "hallmark-source" // URN or id of what it was made from
	TagRun    = "hallmark-run"
)

// The values of TagState.
const (
	MarkStaged    = "staged"
	MarkPublished = "published"
	MarkAged      = "aged"
	MarkRevoked   = "revoked"
)
