package cli

const (
	typeGallery        = "Microsoft.Compute/galleries"
	typeGalleryImage   = "Microsoft.Compute/galleries/images"
	typeGalleryVersion = "Microsoft.Compute/galleries/images/versions"
)
