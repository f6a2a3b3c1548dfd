//! The account: committed never passes the limit, the peak never sinks, nothing is lost.

use std::sync::Arc;

use super::{check, join, spawn};
use crate::os::raw_locks::SystemLock;
use crate::segment::Account;

const LIMIT: usize = 100;

fn account() -> Arc<Account> {
    let account = Account::new(LIMIT);
    assert_eq!((account.committed(), account.peak(), account.limit()), (0, 0, LIMIT));
    Arc::new(account)
}

fn charge(account: &Account, bytes: usize) -> bool {
    account.charge::<SystemLock>(bytes, account.limit()).is_ok()
}

#[test]
fn committed_stays_within_the_limit() {
    check(|| {
        let account = account();
        let keeping = spawn(&account, |account| {
            if charge(account, 70) {
                account.uncharge::<SystemLock>(60);
            }
        });
        if charge(&account, 40) {
            assert!(account.committed() <= LIMIT);
            account.refund::<SystemLock>(40);
        }
        assert!(account.committed() <= LIMIT);
        join([keeping]);
        assert!([0, 10].contains(&account.committed()), "one of the two may have been refused");
        assert!(account.peak() <= LIMIT);
    });
}

#[test]
fn the_peak_never_sinks() {
    check(|| {
        let account = account();
        let passing = spawn(&account, |account| {
            assert!(charge(account, 60));
            account.uncharge::<SystemLock>(60);
        });
        let seen = [account.peak(), account.peak()];
        assert!(charge(&account, 30));
        join([passing]);
        let last = account.peak();
        assert!(seen[0] <= seen[1] && seen[1] <= last, "{seen:?}, {last}");
        assert!([60, 90].contains(&last));
        assert_eq!(account.committed(), 30);
    });
}
