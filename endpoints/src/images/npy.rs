//! npy files, the format of NumPy.

use std::path::Path;

use ndarray::{ArrayView1, ArrayViewD};
use ndarray_npy::{ViewElement, ViewNpyExt as _};

use super::dataset::{Records, read_file};
use super::{Colour, DatasetError, MAX_SET_BYTES, check_size};

pub(super) struct Npy;

impl Npy {
    pub(super) fn open(images: &Path, labels: Option<&Path>) -> Result<Records, DatasetError> {
        let mut records = read_images(&read_file(images, MAX_SET_BYTES)?)
            .map_err(|reason| failed(images, reason))?;
        if let Some(labels) = labels {
            let read = read_labels(&read_file(labels, MAX_SET_BYTES)?, records.len);
            records.labels = Some(read.map_err(|reason| failed(labels, reason))?);
        }
        Ok(records)
    }
}

fn failed(path: &Path, reason: String) -> DatasetError {
    DatasetError::Records {
        what: path.display().to_string(),
        reason,
    }
}

fn read_images(file: &[u8]) -> Result<Records, String> {
    let array = ArrayViewD::<u8>::view_npy(file).map_err(|error| error.to_string())?;
    let (len, height, width, colour) = match *array.shape() {
        [len, height, width] => (len, height, width, Colour::Grey),
        [len, height, width, 3] => (len, height, width, Colour::Rgb),
        ref other => {
            return Err(format!(
                "an array of {other:?}; images are [n, height, width] or [.., 3]"
            ));
        }
    };
    check_size(height, width).map_err(|error| error.to_string())?;
    let pixels = array.iter().copied().collect();
    Ok(Records {
        len,
        height,
        width,
        colour,
        pixels,
        labels: None,
    })
}

fn read_labels(file: &[u8], images: usize) -> Result<Vec<u32>, String> {
    // Viewing, unlike reading, allocates nothing by what the header says.
    let labels = view_labels::<u8>(file)
        .or_else(|_| view_labels::<i32>(file))
        .or_else(|_| view_labels::<i64>(file))
        .map_err(|error| format!("labels are uint8, int32 or int64 [n]: {error}"))?;
    if labels.len() != images {
        return Err(format!("{} labels for {images} images", labels.len()));
    }
    Ok(labels)
}

fn view_labels<T: ViewElement + Copy + TryInto<u32>>(file: &[u8]) -> Result<Vec<u32>, String> {
    let array = ArrayView1::<T>::view_npy(file).map_err(|error| error.to_string())?;
    let label = |label: &T| {
        (*label)
            .try_into()
            .map_err(|_| "a label is below 0".to_owned())
    };
    array.iter().map(label).collect()
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers made here")]
mod tests {
    use ndarray::{Array1, Array3, Array4, ShapeBuilder as _};
    use ndarray_npy::WriteNpyExt;

    use super::*;

    fn npy(array: &impl WriteNpyExt) -> Vec<u8> {
        let mut file = vec![];
        array.write_npy(&mut file).unwrap();
        file
    }

    #[test]
    fn grey_and_colour() {
        let grey = Array3::from_shape_fn((2, 3, 4), |(n, y, x)| (n * 100 + y * 10 + x) as u8);
        let records = read_images(&npy(&grey)).unwrap();
        assert_eq!((records.len, records.height, records.width), (2, 3, 4));
        assert_eq!((records.colour, records.pixels[12]), (Colour::Grey, 100));
        let rgb = Array4::from_shape_fn((2, 3, 4, 3), |(n, y, x, c)| (n + y + x * 10 + c) as u8);
        let records = read_images(&npy(&rgb)).unwrap();
        assert_eq!(
            (records.colour, &records.pixels[..6]),
            (Colour::Rgb, &[0, 1, 2, 10, 11, 12][..])
        );
    }

    #[test]
    fn column_major_order_is_undone() {
        let mut array = Array3::zeros((1, 2, 2).f());
        array[[0, 0, 1]] = 7_u8;
        assert_eq!(read_images(&npy(&array)).unwrap().pixels, [0, 7, 0, 0]);
    }

    #[test]
    fn labels_of_each_type() {
        assert_eq!(
            read_labels(&npy(&Array1::from_vec(vec![3_u8, 255])), 2),
            Ok(vec![3, 255])
        );
        assert_eq!(
            read_labels(&npy(&Array1::from_vec(vec![3_i32, 999])), 2),
            Ok(vec![3, 999])
        );
        assert_eq!(
            read_labels(&npy(&Array1::from_vec(vec![3_i64, 999])), 2),
            Ok(vec![3, 999])
        );
        assert!(read_labels(&npy(&Array1::from_vec(vec![-1_i64])), 1).is_err());
        assert!(read_labels(&npy(&Array1::from_vec(vec![0.5_f32])), 1).is_err());
        assert!(read_labels(&npy(&Array1::from_vec(vec![3_u8])), 2).is_err());
    }

    #[test]
    fn damage_is_an_error() {
        let file = npy(&Array3::<u8>::zeros((2, 3, 4)));
        for length in 0..file.len() {
            assert!(read_images(&file[..length]).is_err());
        }
        assert!(read_images(&npy(&Array1::<u8>::zeros(5))).is_err());
        assert!(read_images(&npy(&Array4::<u8>::zeros((1, 2, 2, 4)))).is_err());
        assert!(read_images(&npy(&Array3::<f32>::zeros((1, 2, 2)))).is_err());
    }
}
