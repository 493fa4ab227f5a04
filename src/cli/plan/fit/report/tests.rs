use super::*;

fn course() -> Course {
    Course {
        lasts: Duration::from_secs(100),
        renders: 100.0,
        most_renders: 9.0,
        most_at_once: 4.0,
        useless: 0.0,
        outdated: 0.1,
        failed: 0.0,
        raised_at: Some(Duration::from_secs(30)),
        fresh_after: Some(Duration::from_secs(20)),
        step: Duration::from_secs(1),
        outdated_by_step: vec![0.0; 100],
        renders_by_step: vec![0.0; 100],
    }
}

#[test]
fn a_replay_fits_that_differs_by_a_tenth_or_by_little() {
    let recorded = course();
    let near = Course {
        renders: 109.0,
        outdated: 0.119,
        fresh_after: Some(Duration::from_secs(22)),
        ..course()
    };
    assert_eq!(misfits(&recorded, &near), Vec::<String>::new());
    let far = Course {
        renders: 112.0,
        outdated: 0.13,
        fresh_after: None,
        ..course()
    };
    assert_eq!(
        misfits(&recorded, &far),
        [
            "112 renders instead of 100",
            "13.0 % outdated instead of 10.0 %",
            "all fresh not seen after the raise instead of 20s"
        ]
    );
    let small = |renders, fresh| Course {
        renders,
        fresh_after: Some(Duration::from_millis(fresh)),
        ..course()
    };
    assert!(misfits(&small(5.0, 500), &small(7.0, 1_400)).is_empty());
}
