//! Fuzz targets of weir.
