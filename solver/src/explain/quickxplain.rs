//! QuickXplain (U. Junker: "QUICKXPLAIN: Preferred explanations and relaxations for over-constrained problems", AAAI 2004): a minimal
//! conflict out of many candidates with few tests. It splits the candidates, and where one half suffices never looks at the other.

/// The smallest set that divide and conquer finds for which `refused` still says yes, given that it does for all of `candidates`; those
/// in front are kept rather than those behind. For k members out of n it asks 2k · log₂(n/k) + 2k times at most. It is minimal when
/// `refused` is right about every set and monotone; a "no" in place of a "yes" only makes it larger than it need be.
pub(super) fn quickxplain<T: Copy>(candidates: &[T], mut refused: impl FnMut(&[T]) -> bool) -> Vec<T> {
    if candidates.is_empty() || refused(&[]) {
        return Vec::new();
    }
    explain(&mut Vec::new(), false, candidates, &mut refused)
}

/// `background` stands; `grew` says that it does since it was last asked about.
fn explain<T: Copy>(
    background: &mut Vec<T>,
    grew: bool,
    candidates: &[T],
    refused: &mut impl FnMut(&[T]) -> bool,
) -> Vec<T> {
    if grew && refused(background) {
        return Vec::new();
    }
    if candidates.len() <= 1 {
        return candidates.to_vec();
    }
    let (front, back) = candidates.split_at(candidates.len() / 2);
    let depth = background.len();
    background.extend(front);
    let from_back = explain(background, true, back, refused);
    background.truncate(depth);
    background.extend(&from_back);
    let mut conflict = explain(background, !from_back.is_empty(), front, refused);
    background.truncate(depth);
    conflict.extend(from_back);
    conflict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_each_of_several_minimal_sets_by_preference() {
        let conflicts: [&[u32]; 3] = [&[3, 7], &[1, 9, 12], &[5]];
        let refused = |set: &[u32]| conflicts.iter().any(|conflict| conflict.iter().all(|member| set.contains(member)));
        let find = |candidates: &[u32]| {
            let mut found = quickxplain(candidates, refused);
            found.sort_unstable();
            found
        };
        let all: Vec<u32> = (0..16).collect();
        assert_eq!(find(&all), [5]);
        assert_eq!(find(&[3, 7, 1, 9, 12]), [3, 7]);
        assert_eq!(find(&[1, 9, 12, 3, 7]), [1, 9, 12]);
    }

    #[test]
    fn asks_few_questions() {
        let mut asked = 0;
        let conflict = quickxplain(&(0..256).collect::<Vec<u32>>(), |set| {
            asked += 1;
            [17, 200].iter().all(|member| set.contains(member))
        });
        assert_eq!(conflict, [17, 200]);
        assert!(asked <= 2 * 2 * 8 + 4, "{asked}");
    }
}
