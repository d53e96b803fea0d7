package build

// Point names a boundary between a recorded step and a side effect, so that a
// test can end the process on either side of each.
type Point string

const (
	PointBaseLink     Point = "base.link"
	PointBaseRecord   Point = "base.record"
	PointLayerCreate  Point = "layer.create"
	PointLayerMount   Point = "layer.mount"
	PointStepRun      Point = "step.run"
	PointLayerClose   Point = "layer.close"
	PointLayerCheck   Point = "layer.check"
	PointLayerRename  Point = "layer.rename"
	PointLayerRecord  Point = "layer.record"
	PointActionRecord Point = "action.record"
	PointFailedKeep   Point = "failed.keep"
	PointFailedRecord Point = "failed.record"
	PointImageFlatten Point = "image.flatten"
	PointImageCheck   Point = "image.check"
	PointImageRename  Point = "image.rename"
	PointImageRecord  Point = "image.record"
	PointPruneRecord  Point = "prune.record"
	PointPruneFile    Point = "prune.file"
)

// Points lists every point.
func Points() []Point {
	return []Point{PointBaseLink, PointBaseRecord, PointLayerCreate, PointLayerMount, PointStepRun, PointLayerClose,
		PointLayerCheck, PointLayerRename, PointLayerRecord, PointActionRecord, PointFailedKeep, PointFailedRecord,
		PointImageFlatten, PointImageCheck, PointImageRename, PointImageRecord, PointPruneRecord, PointPruneFile}
}

// When is a side of a point.
type When string

const (
	Before When = "before"
	After  When = "after"
)

// at does something at a point. An error of the hook stands for a failure there:
// before, nothing was done; after, it was done and nobody was told.
func (b *Builder) at(p Point, do func() error) error {
	if b.Hook == nil {
		return do()
	}
	if err := b.Hook(p, Before); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return b.Hook(p, After)
}
