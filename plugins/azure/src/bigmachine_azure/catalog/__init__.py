"""What the provider sells: types of machines and disks, images, prices."""
