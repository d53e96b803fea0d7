package lineage

// Tags that Hallmark keeps on gallery versions and managed images. Their names
// and values are part of the product's interface: docs/audit.md lists them.
const (
	TagState            = "hallmark-state"             // one of the Marks
	TagReason           = "hallmark-reason"            // why a version was revoked or retired
	TagLifecycleCurrent = "hallmark-lifecycle-current" // how many of the newest versions count as approved
	TagSource           = "hallmark-source"            // publisher:offer:sku:version, or the id of a gallery version
	TagSourceDigest     = "hallmark-source-digest"
	TagImageDigest      = "hallmark-image-digest"
	TagRecipe           = "hallmark-recipe" // the recipe's digest
	TagPlan             = "hallmark-plan"   // the digest of the plan and the resolved source
	TagCommit           = "hallmark-commit"
	TagRun              = "hallmark-run"
	TagBuilt            = "hallmark-built"    // RFC 3339
	TagPromoted         = "hallmark-promoted" // RFC 3339
)

// Marks are the values of [TagState].
const (
	MarkStaged    = "staged"
	MarkPublished = "published"
	MarkAged      = "aged"
	MarkRevoked   = "revoked"
)

// State is what a subject's image is, in one word. The order of precedence is
// the order of these constants.
type State string

// The states.
const (
	Revoked          State = "revoked"
	EndOfLife        State = "end-of-life"
	StagedOnly       State = "staged-only"
	Aged             State = "aged"
	ApprovedOutdated State = "approved-outdated"
	ApprovedCurrent  State = "approved-current"

	UnapprovedMarketplace State = "unapproved-marketplace"
	UnapprovedCustom      State = "unapproved-custom"
	Unknown               State = "unknown"
)

// States lists every state, worst first.
func States() []State {
	return []State{Revoked, EndOfLife, StagedOnly, UnapprovedMarketplace, UnapprovedCustom, Aged, Unknown, ApprovedOutdated, ApprovedCurrent}
}
